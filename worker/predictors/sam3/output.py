"""From tracked frames to results: masks at the size of the video, as bits, on the host."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from worker.predictors.base import FrameResult, Mask, ObjectResult
from worker.predictors.sam3.pointing import is_pointed
from worker.predictors.sam3.tracker import Tracked


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
    masks = [_scaled(tracked.masks[n], size) for n in shown]
    for prompt in {tracked.prompts[n] for n in shown}:
        rivals = [k for k, n in enumerate(shown) if tracked.prompts[n] == prompt]
        _settle_overlaps(masks, rivals, [_rank(tracked, shown[k]) for k in rivals])
    windows = [unpack(bits) for bits in pack(torch.stack(masks)).cpu().numpy()] if masks else []
    return FrameResult(
        tracked.index,
        [
            _object(tracked, n, prompts, window)
            for n, window in zip(shown, windows, strict=True)
            if window.bits.size
        ],
    )


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


def _scaled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) logits to a (H, W) bool mask."""
    scaled: Tensor = F.interpolate(logits[None, None], size, mode="bilinear")[0, 0]
    return scaled > 0


def _settle_overlaps(masks: list[Tensor], rivals: list[int], scores: list[float]) -> None:
    """Leave each pixel to the rival with the highest score, of equals to the first.

    In place, and mask by mask: scores of all objects at the size of the video could fill a GPU.
    """
    if len(rivals) < 2:
        return
    best = torch.zeros(masks[0].shape, device=masks[0].device)
    owner = torch.full(masks[0].shape, -1, device=masks[0].device)
    for k, score in zip(rivals, scores, strict=True):
        wins = masks[k] & (best < score)
        best[wins] = score
        owner[wins] = k
    for k in rivals:
        masks[k] &= owner == k


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
