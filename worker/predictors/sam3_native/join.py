"""Which objects of one window are those of the window before: by their masks where both overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from worker.predictors.base import Mask, ObjectResult
from worker.predictors.sam3_native.client import Sighting

MIN_IOU = 0.3  # over all frames of the overlap together


def match(
    earlier: Sequence[Sequence[ObjectResult]], later: Sequence[Sequence[Sighting]]
) -> dict[int, int]:
    """Pair objects one to one, those that overlap most first, of equals those with lower ids.

    Args:
        earlier, later: what each window says of the same frames.

    Returns:
        ``ObjectResult.object_id`` by ``Sighting.id``, of the pairs that overlap enough.
    """
    common: Counter[tuple[int, int]] = Counter()
    sizes_before: Counter[int] = Counter()
    sizes_after: Counter[int] = Counter()
    for before, after in zip(earlier, later, strict=True):
        for old in before:
            sizes_before[old.object_id] += area(old.mask)
        for new in after:
            sizes_after[new.id] += area(new.mask)
            for old in before:
                common[old.object_id, new.id] += intersection(old.mask, new.mask)
    ious = {
        (known_id, new_id): pixels / (sizes_before[known_id] + sizes_after[new_id] - pixels)
        for (known_id, new_id), pixels in common.items()
    }
    names: dict[int, int] = {}
    for pair, iou in sorted(ious.items(), key=lambda item: (-item[1], item[0])):
        known_id, new_id = pair
        if iou >= MIN_IOU and new_id not in names and known_id not in names.values():
            names[new_id] = known_id
    return names


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
