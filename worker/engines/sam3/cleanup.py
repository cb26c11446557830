"""Arithmetic on masks that stock transformers skips, or does slowly.

It takes non-maximum suppression and connected components from a kernel that it downloads from the
hub, and goes on without them when it cannot (v:58, v:1909, v:1978). Here they are plain tensor
operations that run on any device.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name all of PyTorch's users know
from numpy.typing import NDArray
from torch import Tensor


def mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair of masks, by one matrix product.

    Equal to v:1862, which compares pair by pair: sums of ones are exact in float32.

    Args:
        first: (N, h, w) bool.
        second: (M, h, w) bool.

    Returns:
        (N, M) float32; 0 for two empty masks.
    """
    a, b = first.flatten(1).float(), second.flatten(1).float()
    intersection = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1) - intersection
    return intersection / union.clamp(min=1)


def keep_best(rivals: NDArray[np.bool_], scores: NDArray[np.float32]) -> list[int]:
    """Greedy non-maximum suppression: of two masks that overlap too much the better one stays.

    Args:
        rivals: (N, N), whether two masks overlap too much.
        scores: (N,); of equal ones the first is better.

    Returns:
        The masks that stay, ascending.
    """
    kept: list[int] = []
    for candidate in (-scores).argsort(kind="stable").tolist():
        if not rivals[candidate, kept].any():
            kept.append(candidate)
    return sorted(kept)


def fill_holes(logits: Tensor, max_area: int) -> Tensor:
    """Fill small holes in masks, and remove small islands.

    As v:1937: a hole gets the logit 0.1, an island -0.1. An island stays if it is half of the
    mask or more, so that a tiny object does not vanish.

    Args:
        logits: (N, h, w); above 0 is inside.
        max_area: in pixels; 0 leaves the masks as they are.
    """
    if max_area <= 0 or not len(logits):
        return logits
    outside = logits <= 0
    logits = torch.where(outside & (component_areas(outside, max_area) <= max_area), 0.1, logits)
    inside = logits > 0
    limit = (inside.sum((1, 2)) // 2).clamp(max=max_area)[:, None, None]
    return torch.where(inside & (component_areas(inside, max_area) <= limit), -0.1, logits)


def component_areas(masks: Tensor, max_area: int) -> Tensor:
    """The size of the connected component that each pixel belongs to.

    Labels spread to the eight neighbours step by step. No path within a component of ``max_area``
    pixels is longer than ``max_area`` - 1 steps, so after as many a label that differs from its
    neighbour's belongs to a larger component.

    Args:
        masks: (N, h, w) bool.
        max_area: in pixels.

    Returns:
        (N, h, w) float32: exact up to ``max_area``, more than ``max_area`` for any larger
        component; without meaning outside the masks.
    """
    n, height, width = masks.shape
    inside = masks[:, None].float()
    numbers = torch.arange(1, height * width + 1, device=masks.device, dtype=torch.float32)
    labels = numbers.view(1, 1, height, width) * inside
    for _ in range(max_area - 1):
        labels = _highest_nearby(labels) * inside
    beyond = height * width + 1
    lowest = -_highest_nearby(torch.where(inside > 0, -labels, -beyond))
    unfinished = (_highest_nearby(labels) != labels) | (lowest != labels)
    weights = 1 + unfinished.float() * max_area
    index = labels.long().flatten(1)
    areas = torch.zeros(n, beyond, device=masks.device)
    areas.scatter_add_(1, index, weights.flatten(1))
    return areas.gather(1, index).view(n, height, width)


def _highest_nearby(values: Tensor) -> Tensor:
    return F.max_pool2d(values, kernel_size=3, stride=1, padding=1)
