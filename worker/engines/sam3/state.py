"""A session as bytes: what the tracker remembers, and the frames whose results are owed.

The format is that of safetensors, whose header carries everything but the tensors as one JSON
text. There are four tensors, each a stack in the order in which the JSON text names its parts:

* ``memories``, (M, H * W, 1, 64), and ``pointers``, (K, 1, 1, C): see ``memory.Memory``,
* ``masks``, (L, h, w): logits of the objects on the frames whose results are owed,
* ``examples``, (T, C): see ``lookahead.Prompts``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from shoal.errors import CheckpointUnusable
from worker.engines.sam3.memory import Memory
from worker.engines.sam3.tracker import Tracked

VERSION = 5

KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")


def dump(
    facts: dict[str, Any],
    memory: Memory,
    owed: list[Tracked],
    examples: dict[tuple[int, int], Tensor],
) -> bytes:
    """Write a session down.

    Args:
        facts: values for JSON that belong to the session besides.
        examples: see ``Prompts.examples``.
    """
    text = {
        "version": VERSION,
        **facts,
        "max_obj_id": memory.max_obj_id,
        "objects": [_object_to_json(memory, n, i) for n, i in enumerate(memory.obj_ids)],
        "overlaps": [[*pair, at] for pair, at in memory.overlap_pair_to_frame_inds.items()],
        "owed": [_tracked_to_json(each) for each in owed],
        "examples": [[*key, len(tokens)] for key, tokens in examples.items()],
    }
    outputs = [
        output
        for _, of_kinds in sorted(memory.output_dict_per_obj.items())
        for kind in KINDS
        for output in of_kinds[kind].values()
    ]
    tensors = {
        "pointers": [output["object_pointer"] for output in outputs],
        "memories": [o["maskmem_features"] for o in outputs if "maskmem_features" in o],
        "masks": [mask for each in owed for mask in each.masks],
        "examples": [token for tokens in examples.values() for token in tokens],
    }
    stacks = {name: torch.stack(parts) for name, parts in tensors.items() if parts}
    return bytes(save(stacks, {"session": json.dumps(text, separators=(",", ":"))}))


def parse(state: bytes) -> tuple[dict[str, Any], dict[str, Iterator[Tensor]]]:
    """Take apart what ``dump`` wrote.

    Returns:
        The JSON text, and the parts of each stack in order, on the CPU.

    Raises:
        CheckpointUnusable: it is damaged, or another version wrote it.
    """
    try:
        length = int.from_bytes(state[:8], "little")  # safetensors: header's size, header, data
        text = json.loads(json.loads(state[8 : 8 + length])["__metadata__"]["session"])
        stacks = load(state)
    except (ValueError, KeyError, SafetensorError) as error:
        raise CheckpointUnusable(f"SAM3's state is damaged: {error}") from error
    if text["version"] != VERSION:
        raise CheckpointUnusable(f"SAM3's state has version {text['version']}, not {VERSION}")
    names = ("pointers", "memories", "masks", "examples")
    return text, {name: iter(stacks.get(name, torch.empty(0)).unbind()) for name in names}


def fill_memory(memory: Memory, text: dict[str, Any], parts: dict[str, Iterator[Tensor]]) -> None:
    """Put the objects into an empty memory, on its device."""
    device = torch.device(memory.inference_device)
    memory.max_obj_id = text["max_obj_id"]
    for known in text["objects"]:
        i = known["id"]
        number = memory.obj_id_to_idx(i)
        memory.obj_id_to_prompt_id[i] = known["prompt"]
        if known["score"] is not None:
            memory.obj_id_to_score[i] = known["score"]
        memory.obj_first_frame_idx[i] = known["first"]
        memory.trk_keep_alive[i] = known["keep_alive"]
        if known["unmatched"] is not None:
            memory.unmatched_frame_inds[i] = known["unmatched"]
        if known["occluded"] is not None:
            memory.obj_id_to_last_occluded[i] = known["occluded"]
        for kind, frame, has_memory in known["outputs"]:
            output = {"object_pointer": _take(parts["pointers"], device)}
            if has_memory:
                output["maskmem_features"] = _take(parts["memories"], device)
            memory.output_dict_per_obj[number][KINDS[kind]][frame] = output
    for earlier, later, at in text["overlaps"]:
        memory.overlap_pair_to_frame_inds[earlier, later] = at


def owed_frames(
    text: dict[str, Any], parts: dict[str, Iterator[Tensor]], device: torch.device
) -> list[Tracked]:
    """The frames whose results are owed, on a device."""
    return [
        Tracked(
            index=each["index"],
            ids=each["ids"],
            prompts=each["prompts"],
            scores=each["scores"],
            detection_scores=each["detection_scores"],
            masks=[_take(parts["masks"], device) for _ in each["ids"]],
            removed=set(each["removed"]),
            suppressed=set(each["suppressed"]),
        )
        for each in text["owed"]
    ]


def examples(
    text: dict[str, Any], parts: dict[str, Iterator[Tensor]], device: torch.device
) -> dict[tuple[int, int], Tensor]:
    """``Prompts.examples``, on a device."""
    return {
        (prompt, frame): torch.stack([_take(parts["examples"], device) for _ in range(count)])
        for prompt, frame, count in text["examples"]
    }


def _take(parts: Iterator[Tensor], device: torch.device) -> Tensor:
    """The next part, in memory of its own: a view would keep the whole stack."""
    return next(parts).to(device, copy=True)


def _object_to_json(memory: Memory, number: int, i: int) -> dict[str, Any]:
    return {
        "id": i,
        "prompt": memory.obj_id_to_prompt_id[i],
        "score": memory.obj_id_to_score.get(i),
        "first": memory.obj_first_frame_idx[i],
        "keep_alive": memory.trk_keep_alive[i],
        "unmatched": memory.unmatched_frame_inds.get(i),
        "occluded": memory.obj_id_to_last_occluded.get(i),
        "outputs": [
            [KINDS.index(kind), frame, "maskmem_features" in output]
            for kind in KINDS
            for frame, output in memory.output_dict_per_obj[number][kind].items()
        ],
    }


def _tracked_to_json(tracked: Tracked) -> dict[str, Any]:
    return {
        "index": tracked.index,
        "ids": tracked.ids,
        "prompts": tracked.prompts,
        "scores": tracked.scores,
        "detection_scores": tracked.detection_scores,
        "removed": sorted(tracked.removed),
        "suppressed": sorted(tracked.suppressed),
    }
