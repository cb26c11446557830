"""Applies edits of objects to the results of frames, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from shoal.model.edits import Edits
from worker.engines.base import FrameResult, Mask, ObjectResult


class Editor:
    """What becomes of the objects of a frame follows from that frame and the edits alone."""

    def __init__(
        self, edits: Edits, detection_scores: Mapping[int, float | None] = MappingProxyType({})
    ) -> None:
        """``detection_scores``: of the object that stays of each merged group, by its ID."""
        self._edits = edits
        self._cuts = {
            split.object_id: (split.frame, new_id)
            for split, new_id in zip(edits.split, edits.new_ids, strict=True)
        }
        self._removed = frozenset(edits.remove)
        self._kept_ids = edits.kept_ids
        self._detection_scores = detection_scores

    def apply(self, result: FrameResult) -> FrameResult:
        """The result with split, removed, merged and relabelled objects, in the given order."""
        objects: dict[int, list[ObjectResult]] = {}
        for each in result.objects:
            object_id = self._after_split(each.object_id, result.index)
            if object_id not in self._removed:
                object_id = self._kept_ids.get(object_id, object_id)
                objects.setdefault(object_id, []).append(each)
        edited = [self._as_one(object_id, found) for object_id, found in objects.items()]
        return FrameResult(result.index, edited)

    def _after_split(self, object_id: int, frame: int) -> int:
        first, new_id = self._cuts.get(object_id, (0, object_id))
        return new_id if frame >= first else object_id

    def _as_one(self, object_id: int, found: Sequence[ObjectResult]) -> ObjectResult:
        first = found[0]
        if len(found) > 1:
            first = replace(
                first,
                score=max(each.score for each in found),
                box=_around([each.box for each in found]),
                mask=union([each.mask for each in found]),
            )
        return replace(
            first,
            object_id=object_id,
            prompt=self._edits.relabel.get(object_id, first.prompt),
            detection_score=self._detection_scores.get(object_id, first.detection_score),
        )


def union(masks: Sequence[Mask]) -> Mask:
    """The pixels that are in any of the masks."""
    masks = [each for each in masks if each.bits.size] or list(masks[:1])
    left, top = min(each.x for each in masks), min(each.y for each in masks)
    right = max(each.x + each.bits.shape[1] for each in masks)
    bottom = max(each.y + each.bits.shape[0] for each in masks)
    bits = np.zeros((bottom - top, right - left), np.uint8)
    for each in masks:
        h, w = each.bits.shape
        bits[each.y - top : each.y - top + h, each.x - left : each.x - left + w] |= each.bits
    return Mask(left, top, bits)


Box = tuple[float, float, float, float]


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box with all of them."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
