"""Importing this makes a torchvision built for CUDA importable beside a torch built without it.

Its import registers shapes for two operators that only its native library declares, and the
library does not load without CUDA. They are not called here: declaring them is enough. A third,
``roi_align``, is: it stands in for the native one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

if torch.version.cuda is None:
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision


def roi_align(features: Tensor, boxes: Sequence[Tensor], size: int) -> Tensor:
    """Means of samples in ``size`` x ``size`` bins of boxes, as torchvision's own by its defaults.

    Args:
        features: (B, C, H, W).
        boxes: for each picture (n, 4), x0, y0, x1, y1 in pixels of the map.
    """
    pooled = []
    for picture, of_picture in zip(features, boxes, strict=True):
        for x0, y0, x1, y1 in of_picture.tolist():
            rows = _samples(y0, max(y1 - y0, 1.0), size)
            columns = _samples(x0, max(x1 - x0, 1.0), size)
            sampled = _bilinear(picture, rows.flatten(), columns.flatten())
            pooled.append(sampled.unflatten(2, columns.shape).unflatten(1, rows.shape).mean((2, 4)))
    return torch.stack(pooled)


def _samples(start: float, length: float, size: int) -> Tensor:
    """(size, n) places of samples along one side of a box."""
    each = max(1, math.ceil(length / size))
    places = (torch.arange(size * each) + 0.5) * length / (size * each) + start
    binned: Tensor = places.unflatten(0, (size, each))
    return binned


def _bilinear(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(C, len(rows), len(columns)) values between pixels; those beyond the edge are the edge's."""
    height, width = picture.shape[1:]
    y, x = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    top, left = y.floor().long(), x.floor().long()
    below, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    down, along = (y - top)[:, None].to(picture), (x - left).to(picture)
    upper = picture[:, top][:, :, left] * (1 - along) + picture[:, top][:, :, right] * along
    lower = picture[:, below][:, :, left] * (1 - along) + picture[:, below][:, :, right] * along
    mixed: Tensor = upper * (1 - down) + lower * down
    return mixed


if torch.version.cuda is None:
    torchvision.ops.roi_align = roi_align
