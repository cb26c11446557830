"""Finding known objects on a frame, all of them together.

Transformers takes object by object (t:1831). The steps are its own; what differs is that they are
batched over objects, and where noted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Sam3TrackerVideoModel, Sam3VideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import get_1d_sine_pe

from worker.engines.sam3.constants import constants_of, to_device
from worker.engines.sam3.lookahead import Lookahead
from worker.engines.sam3.memory import Memory, memory_frame

NO_OBJECT = -1024.0  # the logit of every pixel of an object that does not show (t:1630)

# Outputs of one object, each with its age in frames.
Aged = list[tuple[int, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class Propagated:
    """N objects on a frame.

    Attributes:
        masks: (N, 1, h, w) logits.
        presence: (N, 1, 1) logits: above 0 the object shows.
        pointers: (N, 1, C).
    """

    masks: Tensor
    presence: Tensor
    pointers: Tensor


def propagate(
    model: Sam3VideoModel, memory: Memory, frame: int, seen: Lookahead, chunk: int
) -> Propagated:
    """Find the objects of a session, of which there is at least one, on its next frame.

    Args:
        chunk: objects that share a pass; memory grows with it.
    """
    tracker = model.tracker_model
    numbers = sorted(memory.output_dict_per_obj)
    parts = [
        _decode(tracker, seen, condition(tracker, memory, frame, seen, numbers[n : n + chunk]))
        for n in range(0, len(numbers), chunk)
    ]
    if len(parts) == 1:
        return parts[0]
    return Propagated(
        torch.cat([each.masks for each in parts]),
        torch.cat([each.presence for each in parts]),
        torch.cat([each.pointers for each in parts]),
    )


def condition(
    tracker: Sam3TrackerVideoModel, memory: Memory, frame: int, seen: Lookahead, numbers: list[int]
) -> Tensor:
    """The frame's features, conditioned on what is remembered of N objects: (N, C, H, W).

    Objects with equally old memories share a pass: after their first frames that is most of them.
    """
    groups: dict[Any, list[tuple[int, Aged, Aged]]] = defaultdict(list)
    for place, number in enumerate(numbers):
        outputs = memory.output_dict_per_obj[number]
        memories, pointers = _recall(tracker, outputs, frame, memory.stride)
        ages = tuple(age for age, _ in memories)
        groups[ages, len(pointers)].append((place, memories, pointers))
    attended, places = [], []
    for group in groups.values():
        attended.append(_attend(tracker, seen, [each[1:] for each in group]))
        places += [each[0] for each in group]
    if len(attended) == 1:
        return attended[0]
    order = sorted(range(len(places)), key=places.__getitem__)
    return torch.cat(attended)[to_device(order, seen.scores)]


def _recall(
    tracker: Sam3TrackerVideoModel,
    outputs: dict[str, dict[int, dict[str, Tensor]]],
    frame: int,
    stride: int,
) -> tuple[Aged, Aged]:
    """What one object is recognised by: memories and pointers of earlier frames (t:2274, t:2356).

    Transformers adds the pointers of all conditioning frames there ever were. These are those of
    the closest few, as the model was trained and as ``sam3/model/sam3_tracker_base.py`` of Meta's
    own package has it; up to ``max_cond_frame_num`` conditioning frames there is no difference.

    Returns:
        Memories, of which the age 0 marks conditioning frames, and pointers.
    """
    conditioning, tracked = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
    closest, others = tracker._select_closest_cond_frames(
        frame, conditioning, tracker.config.max_cond_frame_num
    )
    recent = {
        age: tracked.get(frame - age, others.get(frame - age))
        for age in range(1, tracker.config.max_object_pointers_in_encoder)
    }
    memories: Aged = [(0, output) for output in closest.values()]
    memories += [
        (age, output)
        for age in range(tracker.num_maskmem - 1, 0, -1)
        if (output := tracked.get(f := memory_frame(frame, age, stride), others.get(f))) is not None
    ]
    pointers: Aged = [(frame - f, output) for f, output in closest.items()]
    pointers += [(age, output) for age, output in recent.items() if output is not None]
    return memories, pointers


def _attend(
    tracker: Sam3TrackerVideoModel, seen: Lookahead, recalled: list[tuple[Aged, Aged]]
) -> Tensor:
    """Look for N objects with memories of the same ages in the frame's features (t:2321, t:2570).

    Returns:
        (N, C, H, W): the features, conditioned on each object.
    """
    features, (height, width) = seen.features[-1], tracker.backbone_feature_sizes[-1]
    count = len(recalled)
    memories = torch.cat([out["maskmem_features"][:, 0] for mem, _ in recalled for _, out in mem])
    places = constants_of(tracker, features).places
    positions = torch.cat([places[age - 1] for age, _ in recalled[0][0]])
    tokens = torch.cat([out["object_pointer"][:, 0] for _, ptr in recalled for _, out in ptr])
    splits = tracker.hidden_dim // tracker.mem_dim  # a pointer is as long as so many tokens
    ages = _pointer_positions(tracker, features, [age for _, ptr in recalled for age, _ in ptr])
    tokens = tokens.view(count, -1, tracker.mem_dim)
    ages = ages.repeat_interleave(splits, 0).view(count, -1, tracker.mem_dim)
    attended = tracker.memory_attention(
        current_vision_features=features.expand(-1, count, -1),
        current_vision_position_embeddings=seen.positions.expand(-1, count, -1),
        memory=torch.cat(
            [memories.view(count, -1, tracker.mem_dim).to(features.dtype), tokens], 1
        ).transpose(0, 1),
        memory_posision_embeddings=torch.cat([positions.expand(count, -1, -1), ages], 1).transpose(
            0, 1
        ),
        num_object_pointer_tokens=tokens.shape[1],
    )
    maps: Tensor = attended[0].transpose(1, 2).unflatten(2, (height, width))
    return maps


def _pointer_positions(tracker: Sam3TrackerVideoModel, like: Tensor, ages: Sequence[int]) -> Tensor:
    """The position encodings of pointers, (n, 64) for n ages in frames (t:2437)."""
    oldest = float(tracker.config.max_object_pointers_in_encoder - 1)
    relative = to_device([float(age) for age in ages], like) / oldest
    sines = get_1d_sine_pe(relative, dim=tracker.hidden_dim).to(like.dtype)
    positions: Tensor = tracker.temporal_positional_encoding_projection_layer(sines)
    return positions


def remember(
    tracker: Sam3TrackerVideoModel,
    seen: Lookahead,
    masks: Tensor,
    presence: Tensor,
    chunk: int,
    *,
    binary: bool = False,
) -> list[Tensor]:
    """The memories of a frame with its N masks (t:2699).

    Args:
        masks: (N, 1, s, s) logits, at any size.
        presence: N logits, of any shape.
        chunk: masks that share a pass.
        binary: whether the masks are drawn ones, of which only the sign counts.

    Returns:
        N times (H * W, 1, 64) bfloat16, slices of the results of their passes.
    """
    features = seen.features[-1]
    memories: list[Tensor] = []
    logits = presence.reshape(-1, 1, 1)
    for part, shows in zip(masks.split(chunk), logits.split(chunk), strict=True):
        encoded, _ = tracker._encode_new_memory(
            current_vision_feats=features.expand(-1, len(part), -1),
            pred_masks_high_res=part,
            object_score_logits=shows,
            is_mask_from_pts=binary,
        )
        memories += encoded.split(1, 1)
    return memories


def _decode(tracker: Sam3TrackerVideoModel, seen: Lookahead, conditioned: Tensor) -> Propagated:
    """Draw the objects' masks: of the decoder's proposals the one it rates best.

    As t:2074, whose choice of the best proposal indexes objects by objects and so is right for a
    single one only.
    """
    count = len(conditioned)
    constant = constants_of(tracker, conditioned)
    sparse, dense = constant.no_prompt
    proposals, ratings, tokens, presence = tracker.mask_decoder(
        image_embeddings=conditioned,
        image_positional_embeddings=constant.image.expand(count, -1, -1, -1),
        sparse_prompt_embeddings=sparse.expand(count, -1, -1, -1),
        dense_prompt_embeddings=dense.expand(count, -1, -1, -1),
        multimask_output=tracker._use_multimask(False, None),
        high_resolution_features=[
            level.expand(count, -1, -1, -1) for level in fine_features(tracker, seen)
        ],
    )
    best = ratings[:, 0].argmax(-1)
    each = torch.arange(count, device=best.device)
    shows = presence > 0
    masks = torch.where(shows[..., None], proposals[each, :, best], NO_OBJECT)
    certainty = shows.to(tokens.dtype)
    pointers = certainty * tracker.object_pointer_proj(tokens[each, :, best])
    pointers = pointers + (1 - certainty) * tracker.no_object_pointer
    return Propagated(masks, presence, pointers)


def coarse_features(tracker: Sam3TrackerVideoModel, seen: Lookahead) -> Tensor:
    """The coarsest level as a map: (1, C, H, W)."""
    flat = seen.features[-1].permute(1, 2, 0)
    coarse: Tensor = flat.unflatten(2, tracker.backbone_feature_sizes[-1])
    return coarse


def fine_features(tracker: Sam3TrackerVideoModel, seen: Lookahead) -> list[Tensor]:
    """The two finer levels as maps: (1, C, H, W) each (t:2645)."""
    return [
        level.permute(1, 2, 0).unflatten(2, size)
        for level, size in zip(seen.features[:-1], tracker.backbone_feature_sizes[:-1], strict=True)
    ]
