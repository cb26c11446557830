"""Finding known objects on a frame, all of them together.

Transformers takes object by object (t:1831). The steps are its own; what differs is that they are
batched over objects, and where noted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Sam3TrackerVideoModel, Sam3VideoModel

from worker.predictors.sam3.lookahead import Seen
from worker.predictors.sam3.memory import Memory

NO_OBJECT = -1024.0  # the logit of every pixel of an object that does not show (t:1630)

# Outputs of one object, each with its age in frames.
Aged = list[tuple[int, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class Found:
    """N objects on a frame.

    Attributes:
        masks: (N, 1, h, w) logits.
        presence: (N, 1, 1) logits: above 0 the object shows.
        pointers: (N, 1, C).
    """

    masks: Tensor
    presence: Tensor
    pointers: Tensor


def propagate(model: Sam3VideoModel, memory: Memory, frame: int, seen: Seen) -> Found:
    """Find the objects of a session, of which there is at least one, on its next frame."""
    tracker = model.tracker_model
    numbers = sorted(memory.output_dict_per_obj)
    return _decode(tracker, seen, condition(tracker, memory, frame, seen, numbers))


def condition(
    tracker: Sam3TrackerVideoModel, memory: Memory, frame: int, seen: Seen, numbers: list[int]
) -> Tensor:
    """The frame's features, conditioned on what is remembered of N objects: (N, C, H, W)."""
    places = _places(tracker, seen)
    recalled = [
        _as_tokens(tracker, places, *_recall(tracker, memory.output_dict_per_obj[number], frame))
        for number in numbers
    ]
    return _attend(tracker, seen, recalled)


def _recall(
    tracker: Sam3TrackerVideoModel, outputs: dict[str, dict[int, dict[str, Tensor]]], frame: int
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
        if (output := recent[age]) is not None
    ]
    pointers: Aged = [(frame - f, output) for f, output in closest.items()]
    pointers += [(age, output) for age, output in recent.items() if output is not None]
    return memories, pointers


def _places(tracker: Sam3TrackerVideoModel, seen: Seen) -> Tensor:
    """The position encoding of every memory, the same for all: (H * W, 1, 64) (t:1195)."""
    features, (height, width) = seen.features[-1], tracker.backbone_feature_sizes[-1]
    encoding: Tensor = tracker.memory_encoder.position_encoding(
        torch.Size((1, tracker.mem_dim, height, width)), features.device, features.dtype
    )
    return encoding.flatten(2).permute(2, 0, 1)


def _as_tokens(
    tracker: Sam3TrackerVideoModel, places: Tensor, memories: Aged, pointers: Aged
) -> tuple[Tensor, Tensor, int]:
    """One object's memories and pointers as the memory attention reads them (t:2321, t:2417).

    Returns:
        T tokens (T, 1, 64) in the model's dtype, their position encodings alike, and how many of
        them, at the end, belong to pointers.
    """
    ages = tracker.memory_temporal_positional_encoding
    tokens = [output["maskmem_features"] for _, output in memories]
    positions = [places + ages[age - 1] for age, _ in memories]
    pointer_tokens, pointer_positions = tracker._process_object_pointers(
        [age for age, _ in pointers],
        [output["object_pointer"] for _, output in pointers],
        tracker.config.max_object_pointers_in_encoder,
        1,
        tracker.hidden_dim,
        places.device,
    )
    return (
        torch.cat([*tokens, pointer_tokens]).to(places.dtype),
        torch.cat([*positions, pointer_positions]),
        len(pointer_tokens),
    )


def _attend(
    tracker: Sam3TrackerVideoModel, seen: Seen, recalled: list[tuple[Tensor, Tensor, int]]
) -> Tensor:
    """Look for each object in the frame's features (t:2570).

    Objects with equally many tokens share a pass: after their first frames that is all of them.

    Returns:
        (N, C, H, W): the features, conditioned on each object.
    """
    groups = defaultdict(list)
    for number, (tokens, _, pointers) in enumerate(recalled):
        groups[len(tokens), pointers].append(number)
    features, (height, width) = seen.features[-1], tracker.backbone_feature_sizes[-1]
    conditioned: dict[int, Tensor] = {}
    for (_, pointers), numbers in groups.items():
        attended = tracker.memory_attention(
            current_vision_features=features.expand(-1, len(numbers), -1),
            current_vision_position_embeddings=seen.positions.expand(-1, len(numbers), -1),
            memory=torch.cat([recalled[i][0] for i in numbers], 1),
            memory_posision_embeddings=torch.cat([recalled[i][1] for i in numbers], 1),
            num_object_pointer_tokens=pointers,
        )
        maps = attended[0].transpose(1, 2).unflatten(2, (height, width))
        conditioned |= dict(zip(numbers, maps, strict=True))
    return torch.stack([conditioned[i] for i in range(len(recalled))])


def _decode(tracker: Sam3TrackerVideoModel, seen: Seen, conditioned: Tensor) -> Found:
    """Draw the objects' masks: of the decoder's proposals the one it rates best.

    As t:2074, whose choice of the best proposal indexes objects by objects and so is right for a
    single one only.
    """
    count = len(conditioned)
    points = conditioned.new_zeros(count, 1, 1, 2)
    sparse, dense = tracker.prompt_encoder(
        input_points=points,
        input_labels=-torch.ones(count, 1, 1, dtype=torch.int32, device=points.device),
        input_boxes=None,
        input_masks=None,
    )
    proposals, ratings, tokens, presence = tracker.mask_decoder(
        image_embeddings=conditioned,
        image_positional_embeddings=tracker.get_image_wide_positional_embeddings().repeat(
            count, 1, 1, 1
        ),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
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
    return Found(masks, presence, pointers)


def coarse_features(tracker: Sam3TrackerVideoModel, seen: Seen) -> Tensor:
    """The coarsest level as a map: (1, C, H, W)."""
    flat = seen.features[-1].permute(1, 2, 0)
    coarse: Tensor = flat.unflatten(2, tracker.backbone_feature_sizes[-1])
    return coarse


def fine_features(tracker: Sam3TrackerVideoModel, seen: Seen) -> list[Tensor]:
    """The two finer levels as maps: (1, C, H, W) each (t:2645)."""
    return [
        level.permute(1, 2, 0).unflatten(2, size)
        for level, size in zip(seen.features[:-1], tracker.backbone_feature_sizes[:-1], strict=True)
    ]
