"""What becomes of tracks and detections on a frame, decided on the host.

The rules are those of ``Sam3VideoModel.run_tracker_update_planning_phase`` (v:1243). There each
object and each detection asks the device for its part, which waits for it each time; here all that
the decisions depend on comes to the host in one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam3VideoModel

from worker.engines.sam3.constants import to_device
from worker.engines.sam3.lookahead import Lookahead
from worker.engines.sam3.memory import Memory

NEVER = -1  # as the last frame on which an object was occluded
ALWAYS = 100_000  # the same of an object that hotstart removes (v:1014)
SUPPRESSED = -10.0  # the logit of every pixel of a mask that is not shown (v:1082)


@dataclass(frozen=True, slots=True)
class Facts:
    """D detections and N tracks of a frame, on the host, in float32.

    Attributes:
        overlap: (N, D + N) intersection over union of each track with all.
        areas: (N,) pixels of the tracks.
        detected: (D,) scores of the detections, 0 to 1.
        presence: (N,) logits of the tracks.
        shows: (N,) the same as 0 to 1.
    """

    overlap: NDArray[np.float32]
    areas: NDArray[np.float32]
    detected: NDArray[np.float32]
    presence: NDArray[np.float32]
    shows: NDArray[np.float32]

    @classmethod
    def gather(cls, seen: Lookahead, masks: Tensor, presence: Tensor) -> Facts:
        """
        Args:
            masks: (N, h, w) logits of the tracks.
            presence: (N,) logits.
        """
        found, tracked = len(seen.masks), len(masks)
        pixels = (torch.cat([seen.masks, masks]) > 0).flatten(1).float()
        common, sizes = pixels[found:] @ pixels.T, pixels.sum(1)
        logits = presence.float()
        parts = [common.flatten(), sizes, seen.scores.float(), logits, presence.sigmoid().float()]
        flat: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        ends = np.cumsum([tracked * (found + tracked), found + tracked, found, tracked])
        shared, areas, detected, on_host, shows = np.split(flat, ends)
        shared = shared.reshape(tracked, found + tracked)
        union = np.maximum(areas[found:, None] + areas - shared, 1)
        return cls(shared / union, areas[found:], detected, on_host, shows)


@dataclass(slots=True)
class Plan:
    """
    Attributes:
        new: detections that begin a track, each with its new id.
        removed: ids that hotstart removes.
        reconditioned: ids whose memory is renewed, each with the detection that confirms it.
        suppressed: numbers of tracks whose masks are hidden behind others'.
        hidden: ids that are not shown on this frame.
        occluded: the last frame, by id, on which an object was occluded.
        scores: the first detection's, by id.
        histories: what hotstart notes, see ``Sam3VideoModel._process_hotstart``.
    """

    new: dict[int, int] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    reconditioned: dict[int, int] = field(default_factory=dict)
    suppressed: list[int] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    occluded: dict[int, int] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    histories: dict[str, Any] = field(default_factory=dict)

    def carry_out(self, memory: Memory) -> None:
        """Have a memory take over what was decided (v:1738), once its objects came and went."""
        memory.obj_id_to_score = self.scores
        memory.obj_id_to_last_occluded = {
            i: frame for i, frame in self.occluded.items() if i not in self.removed
        }
        memory.max_obj_id = max([memory.max_obj_id, *self.new.values()])
        memory.obj_first_frame_idx = self.histories["obj_first_frame_idx"]
        memory.unmatched_frame_inds = self.histories["unmatched_frame_inds"]
        memory.overlap_pair_to_frame_inds = self.histories["overlap_pair_to_frame_inds"]
        memory.trk_keep_alive = self.histories["trk_keep_alive"]


@dataclass(slots=True)
class _Matches:
    """Who is who (v:678).

    Attributes:
        new: detections that are no track's.
        unmatched, empty: ids of tracks that are no detection's, or do not show.
        of_detection: ids of the tracks that match a detection.
        confirmed: ids of tracks with a detection that confirms them.
    """

    new: list[int]
    unmatched: list[int]
    empty: list[int]
    of_detection: dict[int, list[int]] = field(default_factory=dict)
    confirmed: dict[int, int] = field(default_factory=dict)


def decide(
    model: Sam3VideoModel, memory: Memory, frame: int, seen: Lookahead, facts: Facts
) -> Plan:
    """The plan of a frame; ``memory`` learns the prompts of new objects."""
    prompts = seen.prompts
    matches = _associate(model, memory, prompts, facts)
    if not seen.searched:
        matches.unmatched = []  # nothing is known against them
    room = model.max_num_objects - len(memory.obj_ids)
    new = matches.new
    if len(new) > room:
        best = torch.from_numpy(facts.detected[new]).topk(room).indices
        new = [new[n] for n in best.tolist()]
    plan = Plan(new={n: i for i, n in enumerate(new, memory.max_obj_id + 1)})
    for detection, i in plan.new.items():
        memory.obj_id_to_prompt_id[i] = prompts[detection]
    _run_hotstart(model, memory, frame, matches, plan)
    if model.recondition_every_nth_frame > 0 and frame % model.recondition_every_nth_frame == 0:
        plan.reconditioned = {
            i: detection
            for i, detection in matches.confirmed.items()
            if facts.presence[memory.obj_id_to_idx(i)] > model.high_conf_thresh
        }
    if model.suppress_overlapping_based_on_recent_occlusion_threshold > 0:
        _find_occluded(model, memory, frame, facts, plan)
    plan.scores = memory.obj_id_to_score | {
        i: float(facts.detected[n]) for n, i in plan.new.items()
    }
    return plan


def _associate(
    model: Sam3VideoModel, memory: Memory, prompts: Sequence[int], facts: Facts
) -> _Matches:
    ids, found = memory.obj_ids, len(facts.detected)
    shown = facts.areas > 0
    empty = [i for i, shows in zip(ids, shown, strict=True) if not shows]
    if not ids:
        return _Matches(list(range(found)), [], [])
    if not found:
        return _Matches([], [i for i, shows in zip(ids, shown, strict=True) if shows], empty)
    of_tracks = np.array([memory.obj_id_to_prompt_id[i] for i in ids])
    ious = np.where(np.array(prompts)[:, None] == of_tracks, facts.overlap[:, :found].T, 0)
    matched = (ious >= model.trk_assoc_iou_thresh).any(0)
    matches = ious >= model.assoc_iou_thresh
    is_new = (facts.detected >= model.new_det_thresh) & ~matches.any(1)
    confirms = (facts.detected >= model.high_conf_thresh) & ~is_new
    confirms &= ious.max(1) >= model.high_iou_thresh
    return _Matches(
        new=is_new.nonzero()[0].tolist(),
        unmatched=[ids[n] for n in (shown & ~matched).nonzero()[0]],
        empty=empty,
        of_detection={d: [ids[n] for n in matches[d].nonzero()[0]] for d in range(found)},
        confirmed={ids[ious[d].argmax()]: d for d in confirms.nonzero()[0].tolist()},
    )


def _run_hotstart(
    model: Sam3VideoModel, memory: Memory, frame: int, matches: _Matches, plan: Plan
) -> None:
    """Have transformers note the matches, and name those objects that turned out to be none."""
    histories = deepcopy(
        {
            "obj_first_frame_idx": memory.obj_first_frame_idx,
            "unmatched_frame_inds": memory.unmatched_frame_inds,
            "trk_keep_alive": memory.trk_keep_alive,
            "overlap_pair_to_frame_inds": memory.overlap_pair_to_frame_inds,
            "removed_obj_ids": memory.removed_obj_ids,
            "suppressed_obj_ids": memory.suppressed_obj_ids,
        }
    )
    plan.removed, plan.histories = model._process_hotstart(
        inference_session=memory,
        frame_idx=frame,
        reverse=False,
        det_to_matched_trk_obj_ids=matches.of_detection,
        new_det_obj_ids=list(plan.new.values()),
        empty_trk_obj_ids=matches.empty,
        unmatched_trk_obj_ids=matches.unmatched,
        extra_metadata=histories,
    )
    plan.hidden = set(plan.histories["suppressed_obj_ids"][frame])


def _find_occluded(
    model: Sam3VideoModel, memory: Memory, frame: int, facts: Facts, plan: Plan
) -> None:
    """Of two tracks of one prompt that overlap, the one that was hidden last gives way (v:985)."""
    ids, found = memory.obj_ids, len(facts.detected)
    default = {i: ALWAYS if i in plan.removed else NEVER for i in ids}
    last = {i: memory.obj_id_to_last_occluded.get(i, default[i]) for i in ids}
    limit = model.suppress_overlapping_based_on_recent_occlusion_threshold
    pairs = np.triu(facts.overlap[:, found:] >= limit, 1).nonzero()
    suppressed: set[int] = set()
    for a, b in zip(*(each.tolist() for each in pairs), strict=True):
        if memory.obj_id_to_prompt_id[ids[a]] != memory.obj_id_to_prompt_id[ids[b]]:
            continue
        for one, other in ((a, b), (b, a)):
            if last[ids[one]] > last[ids[other]] > NEVER:
                suppressed.add(one)
    plan.suppressed = sorted(suppressed)
    plan.occluded = {
        i: frame if n in suppressed or not facts.areas[n] else last[i] for n, i in enumerate(ids)
    }


def apply(
    model: Sam3VideoModel, memory: Memory, seen: Lookahead, masks: Tensor, plan: Plan
) -> Tensor:
    """The masks that are remembered of a frame (v:1139).

    Args:
        masks: (N, h, w) logits of the tracks; those that give way are changed in place.

    Returns:
        (N, 1, h, w) logits: no object has pixels that are another's of the same prompt, or it is
        gone if that leaves little of it.
    """
    if plan.suppressed:
        masks[to_device(plan.suppressed, masks)] = SUPPRESSED
    if not model.recondition_on_trk_masks:
        for i, detection in plan.reconditioned.items():
            masks[memory.obj_id_to_idx(i)] = (seen.masks[detection] >= 0.5).to(masks.dtype)
    groups: dict[int, list[int]] = {}
    for n, i in enumerate(memory.obj_ids):
        groups.setdefault(memory.obj_id_to_prompt_id[i], []).append(n)
    apart = masks[:, None]
    if len(groups) == 1:
        alone: Tensor = model._suppress_object_pw_area_shrinkage_impl(apart)
        return alone
    several = [numbers for numbers in groups.values() if len(numbers) > 1]
    if several:
        apart = apart.clone()
    for numbers in several:
        chosen = to_device(numbers, masks)
        apart[chosen] = model._suppress_object_pw_area_shrinkage_impl(apart[chosen])
    return apart
