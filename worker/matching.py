"""Which objects of one run are those of another: by their masks where both have seen the same.

Used where two windows of an engine overlap, where two passes meet, and at the cuts of a split job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from worker.engines.base import Mask

MIN_IOU = 0.3  # over all frames of the overlap together


class Seen(Protocol):
    """An object on a frame; an ``ObjectResult`` is one."""

    @property
    def object_id(self) -> int: ...

    @property
    def prompt(self) -> str: ...

    @property
    def mask(self) -> Mask: ...


def match(
    earlier: Iterable[Sequence[Seen]], later: Iterable[Sequence[Seen]], min_iou: float = MIN_IOU
) -> dict[int, int]:
    """Pair the objects of a prompt one to one, so that the sum of their IoUs is the greatest.

    Args:
        earlier, later: what each run says of the same frames.
        min_iou: of the pixels of all frames together, for two to be the same.

    Returns:
        ID in the earlier run by ID in the later one.
    """
    from scipy.optimize import linear_sum_assignment  # a third of a start, for few

    common: Counter[tuple[int, int]] = Counter()
    sizes_before: Counter[int] = Counter()
    sizes_after: Counter[int] = Counter()
    for before, after in zip(earlier, later, strict=True):
        for old in before:
            sizes_before[old.object_id] += area(old.mask)
        for new in after:
            sizes_after[new.object_id] += area(new.mask)
            for old in before:
                if old.prompt == new.prompt:
                    common[old.object_id, new.object_id] += intersection(old.mask, new.mask)
    rows, columns = sorted(sizes_before), sorted(sizes_after)
    ious = np.zeros((len(rows), len(columns)))
    for (old_id, new_id), pixels in common.items():
        union = sizes_before[old_id] + sizes_after[new_id] - pixels
        iou = pixels / union if union else 0.0
        if iou >= min_iou:
            ious[rows.index(old_id), columns.index(new_id)] = iou
    pairs = zip(*linear_sum_assignment(ious, maximize=True), strict=True)
    return {columns[new]: rows[old] for old, new in pairs if ious[old, new] > 0}


def area(mask: Mask) -> int:
    """Pixels inside."""
    return int(mask.bits.sum(dtype="int64"))


def intersection(first: Mask, second: Mask) -> int:
    """Pixels inside both."""
    x0, y0 = max(first.x, second.x), max(first.y, second.y)
    x1 = min(first.x + first.bits.shape[1], second.x + second.bits.shape[1])
    y1 = min(first.y + first.bits.shape[0], second.y + second.bits.shape[0])
    if x0 >= x1 or y0 >= y1:
        return 0
    a = first.bits[y0 - first.y : y1 - first.y, x0 - first.x : x1 - first.x]
    b = second.bits[y0 - second.y : y1 - second.y, x0 - second.x : x1 - second.x]
    return int((a & b).sum(dtype="int64"))
