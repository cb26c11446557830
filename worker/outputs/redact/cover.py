"""Hide a part of a picture, so that what is left does not tell what was there.

All is drawn in the planes of a yuv420p picture, in the window that an object covers. ``blur`` and
``pixelate`` first average the window over a few large cells and forget the rest: how many there
are depends on nothing, so a large face keeps no more than a small one, and there is nothing that
sharpening could bring back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from pycocotools import mask as coco

from shoal.model.outputs import Redact
from worker.outputs.redact.bridge import Box, Cover
from worker.video.planes import Plane, planes

Bits = NDArray[np.uint8]  # (h, w), 0 or 1

CELLS = 6  # along the longer side of what is hidden
MIN_CELL = 8  # pixels
KERNEL_SIDE = 96  # pixels: larger masks are dilated at this size


class CoverWindow(NamedTuple):
    """A part of a picture: even edges, so that each 2 by 2 pixels have one chroma sample."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, plane: Plane, subsampled: bool) -> Plane:
        """The window in a plane of luma, or of chroma."""
        by = 2 if subsampled else 1
        return plane[self.top // by : self.bottom // by, self.left // by : self.right // by]


class Cloak:
    """Hides objects in pictures of one size."""

    def __init__(self, output: Redact, height: int, width: int) -> None:
        """``height`` and ``width`` are those of the source, which masks have, too."""
        self._output = output
        self._size = [height, width]

    def hide(self, canvas: av.VideoFrame, cover: Cover) -> None:
        """Hide one object in a writable yuv420p picture of even size."""
        window = self._window(cover.box, canvas)
        if window is None:
            return
        h, w = window.bottom - window.top, window.right - window.left
        bits = self._bits(cover, window) if cover.counts else np.ones((h, w), np.uint8)
        cell = max(MIN_CELL, math.ceil(max(h, w) / CELLS))
        for plane, subsampled in zip(planes(canvas), (False, True, True), strict=True):
            area = window.of(plane, subsampled)
            if self._output.style == "solid":
                hidden = np.full_like(area, 128 if subsampled else _black(canvas))
            else:
                is_smooth = self._output.style == "blur"
                hidden = _averaged(area, cell // 2 if subsampled else cell, is_smooth)
            cv2.copyTo(hidden, _halved(bits) if subsampled else bits, area)

    def _window(self, box: Box, canvas: av.VideoFrame) -> CoverWindow | None:
        """The even window of a box that is dilated; None if it lies outside."""
        x0, y0, x1, y1 = box
        dx, dy = self._margins(box)
        left, top = (max(0, math.floor(edge) // 2 * 2) for edge in (x0 - dx, y0 - dy))
        right, bottom = (-(-math.ceil(edge) // 2) * 2 for edge in (x1 + dx, y1 + dy))
        right, bottom = min(canvas.width, right), min(canvas.height, bottom)
        return CoverWindow(top, left, bottom, right) if right > left and bottom > top else None

    def _margins(self, box: Box) -> tuple[int, int]:
        """By how many pixels a box grows to either side, in x and in y."""
        part = (self._output.dilate - 1) / 2
        return math.ceil(part * (box[2] - box[0])), math.ceil(part * (box[3] - box[1]))

    def _bits(self, cover: Cover, window: CoverWindow) -> Bits:
        """The dilated mask in a window."""
        full = coco.decode({"size": self._size, "counts": cover.counts})
        bits = np.zeros((window.bottom - window.top, window.right - window.left), np.uint8)
        found = full[window.top : window.bottom, window.left : window.right]
        bits[: found.shape[0], : found.shape[1]] = found
        if found.shape != bits.shape:  # odd sizes are padded: what touches the edge goes on
            bits[found.shape[0] :] = bits[found.shape[0] - 1]
            bits[:, found.shape[1] :] = bits[:, found.shape[1] - 1 :][:, :1]
        return dilated(bits, *self._margins(cover.box))


def dilated(bits: Bits, dx: int, dy: int) -> Bits:
    """A mask whose edge lies further out, by ``dx`` and ``dy`` pixels and in between."""
    h, w = bits.shape
    scale = min(1.0, KERNEL_SIDE / max(h, w))
    small = bits
    if scale < 1.0:
        size = max(1, round(w * scale)), max(1, round(h * scale))
        small = np.asarray(cv2.resize(bits * np.uint8(255), size, interpolation=cv2.INTER_AREA))
        small = (small > 0).astype(np.uint8)
    kernel = cv2.getStructuringElement(
        cv2.MORPH_ELLIPSE, (2 * math.ceil(dx * scale) + 1, 2 * math.ceil(dy * scale) + 1)
    )
    small = np.asarray(cv2.dilate(small, kernel), np.uint8)
    if scale < 1.0:
        small = np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST), np.uint8)
    return small | bits


def _averaged(area: Plane, cell: int, smooth: bool) -> Plane:
    """A part of a plane as it looks in cells of so many pixels."""
    h, w = area.shape
    coarse = cv2.resize(area, (-(-w // cell), -(-h // cell)), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(coarse, (w, h), interpolation=how), np.uint8)


def _halved(bits: Bits) -> Bits:
    """Half the size: set where any of 2 by 2 is set."""
    rows = bits[::2] | bits[1::2]
    return rows[:, ::2] | rows[:, 1::2]


def _black(picture: av.VideoFrame) -> int:
    """Luma of black (ITU-T H.273, 8.3)."""
    return 0 if picture.color_range == ColorRange.JPEG else 16
