"""From tracked frames to results: masks at the size of the video, as bits, on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.engines.sam3.pointing import is_pointed
from worker.engines.sam3.tracker import Tracked

DRAWN_TOGETHER = 8  # masks at the size of the video: 8 MB each in float32 at 1080p


@torch.inference_mode()
def to_result(
    tracked: Tracked, hidden: Iterable[int], prompts: tuple[str, ...], size: tuple[int, int]
) -> FrameResult:
    """Draw the objects of a frame as ``Sam3VideoProcessor.postprocess_outputs`` does.

    A pixel that several objects of one prompt claim goes to the one with the highest score, first
    among those that were pointed at. An object that is left without a pixel is not reported.

    Args:
        hidden: ids not to show.
        prompts: see ``Tracked.prompts``.
        size: height and width of the video in pixels.
    """
    hidden = set(hidden) | tracked.suppressed
    shown = [n for n, i in enumerate(tracked.ids) if i not in hidden]
    groups = [
        sorted((n for n in shown if tracked.prompts[n] == p), key=lambda n: -_rank(tracked, n))
        for p in dict.fromkeys(tracked.prompts[n] for n in shown)
    ]
    drawn = [part for group in groups for part in _draw(tracked, group, size)]
    windows: dict[int, Mask] = {}
    if drawn:
        bits = pack(torch.cat(drawn)).cpu().numpy()
        order = [n for group in groups for n in group]
        windows = dict(zip(order, map(unpack, bits), strict=True))
    return FrameResult(
        tracked.index,
        [_object(tracked, n, prompts, windows[n]) for n in shown if windows[n].bits.size],
    )


def _draw(tracked: Tracked, group: list[int], size: tuple[int, int]) -> Iterator[Tensor]:
    """The masks of the objects of one prompt, the first to have a pixel first."""
    taken: Tensor | None = None
    for start in range(0, len(group), DRAWN_TOGETHER):
        part = group[start : start + DRAWN_TOGETHER]
        logits = torch.stack([tracked.masks[n] for n in part])[:, None]
        masks = F.interpolate(logits, size, mode="bilinear")[:, 0] > 0
        if len(group) > 1:
            claims = masks.cumsum(0, dtype=torch.uint8)
            mine = masks & (claims == 1)
            if taken is not None:
                mine &= ~taken
            if start + DRAWN_TOGETHER < len(group):
                taken = claims[-1] > 0 if taken is None else taken | (claims[-1] > 0)
            masks = mine
        yield masks


def _object(tracked: Tracked, n: int, prompts: tuple[str, ...], mask: Mask) -> ObjectResult:
    height, width = mask.bits.shape
    return ObjectResult(
        object_id=tracked.ids[n] + 1,
        prompt=prompts[tracked.prompts[n]],
        score=tracked.scores[n],
        box=(float(mask.x), float(mask.y), float(mask.x + width), float(mask.y + height)),
        mask=mask,
        detection_score=tracked.detection_scores[n],
    )


def _rank(tracked: Tracked, n: int) -> float:
    """Its score; an object that was pointed at comes before all others."""
    return tracked.scores[n] + is_pointed(tracked.ids[n])


def pack(masks: Tensor) -> Tensor:
    """(N, H, W) bool as (N, H, ceil(W / 8)) uint8, the leftmost pixel in the highest bit."""
    padded = F.pad(masks, (0, -masks.shape[-1] % 8)).unflatten(-1, (-1, 8))
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    packed: Tensor = (padded * weights).sum(-1, dtype=torch.uint8)
    return packed


def unpack(bits: NDArray[np.uint8]) -> Mask:
    """One packed mask, (H, ceil(W / 8)), as its window; only the window is unpacked."""
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if not len(rows):
        return Mask(0, 0, np.zeros((0, 0), np.uint8))
    y, x = int(rows[0]), int(columns[0])
    window = Mask.from_full(np.unpackbits(bits[y : rows[-1] + 1, x : columns[-1] + 1], axis=1))
    return Mask(window.x + 8 * x, window.y + y, window.bits)
