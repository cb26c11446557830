"""Importing this makes a torchvision built for CUDA importable beside a torch built without it.

Its import registers shapes for two operators that only its native library declares, and the
library does not load without CUDA. None of them is called here: declaring them is enough.
"""

from __future__ import annotations

import torch

if torch.version.cuda is None:
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: F401
