"""From a box to a mask: a segmentation network for persons, GrabCut for all else."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.engines.base import Mask
from worker.engines.cpu.appearance import Box
from worker.engines.cpu.detector import session

Bits = NDArray[np.uint8]  # (h, w), 0 or 1

PERSON_SIDE = 256  # pixels, as the network was trained
PERSON_ZOOM = 1.3  # side of the square it is shown over the longer side of the box
PERSON_SLACK = 0.04  # of the box's sides: how far limbs may reach out of it
GRABCUT_SIDE = 128  # pixels of the longer side: more costs time and gains little
GRABCUT_PADDING = 0.25  # of the box's sides: the background it learns from
GRABCUT_ITERATIONS = 1  # a second one changes less than 1 % of the mask
CORE = (0.44, 0.6)  # of the box's sides: an ellipse that is object for certain
MIN_COVER = 0.1  # of the box: less is taken for a failure
MAX_HOLE = 0.01  # of the mask: smaller holes are filled


class PersonMasks:
    """MediaPipe's selfie segmentation, shown one person at a time."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session = session(path, threads)
        self._input = self._session.get_inputs()[0].name

    def segment(self, bgr: Bits, box: Box) -> Mask:
        """Outline the person in a box.

        Args:
            bgr: (H, W, 3), the frame.
            box: lies within the frame.

        Returns:
            One connected mask; where the network sees nobody, that of ``cut_out``.
        """
        x0, y0, x1, y1 = box
        zoom = PERSON_SIDE / (PERSON_ZOOM * max(x1 - x0, y1 - y0))
        middle = PERSON_SIDE / 2
        to_crop = np.array(
            [
                [zoom, 0.0, middle - zoom * (x0 + x1) / 2],
                [0.0, zoom, middle - zoom * (y0 + y1) / 2],
            ]
        )
        crop = cv2.warpAffine(
            bgr, to_crop, (PERSON_SIDE, PERSON_SIDE), borderMode=cv2.BORDER_REPLICATE
        )
        rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(np.float32)[None]
        rgb /= 255.0
        likely = self._session.run(None, {self._input: rgb})[0][0, ..., 0]

        left, top, right, bottom = window(grown(box, PERSON_SLACK), bgr.shape)
        from_window = to_crop.copy()
        from_window[:, 2] += to_crop[:, :2] @ (left, top)
        fine = cv2.warpAffine(
            likely,
            from_window,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        bits = clean((fine > 0.5).astype(np.uint8))
        if np.count_nonzero(bits) < MIN_COVER * (x1 - x0) * (y1 - y0):
            return cut_out(bgr, box)
        return trimmed(left, top, bits)


def cut_out(bgr: Bits, box: Box) -> Mask:
    """Outline whatever is in a box by GrabCut (Rother et al. 2004), from its colours alone.

    Args:
        bgr: (H, W, 3), the frame.
        box: lies within the frame.

    Returns:
        One connected mask within the box. Its inscribed ellipse where the colours do not tell
        the object from what is around it; the whole box where it fills the frame.
    """
    left, top, right, bottom = window(grown(box, GRABCUT_PADDING), bgr.shape)
    x0, y0, x1, y1 = window(box, bgr.shape)
    crop = bgr[top:bottom, left:right]
    scale = min(1.0, GRABCUT_SIDE / max(crop.shape[:2]))
    size = [max(1, round(side * scale)) for side in crop.shape[1::-1]]
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    inner = ((x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale)
    labels = _seeds(small.shape, inner)
    if (labels == cv2.GC_BGD).any():
        cv2.setRNGSeed(1)  # its clustering draws lots: equal frames must give equal masks
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(
            small,
            labels,
            (0, 0, 0, 0),
            background,
            foreground,
            GRABCUT_ITERATIONS,
            cv2.GC_INIT_WITH_MASK,
        )
    # GC_FGD and GC_PR_FGD are the odd labels. The blur takes the steps off the enlarged outline.
    soft = cv2.GaussianBlur((labels & 1) * np.uint8(255), (5, 5), 0)
    soft = cv2.resize(soft, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    bits = clean((soft[y0 - top : y1 - top, x0 - left : x1 - left] > 127).astype(np.uint8))
    if np.count_nonzero(bits) < MIN_COVER * bits.size:
        bits = ellipse(bits.shape)
    return trimmed(x0, y0, bits)


def inscribed(box: Box, shape: tuple[int, ...]) -> Mask:
    """The ellipse in a box that lies within an (H, W, ...) frame."""
    x0, y0, x1, y1 = window(box, shape)
    return trimmed(x0, y0, ellipse((y1 - y0, x1 - x0)))


def _seeds(shape: tuple[int, ...], box: Box) -> Bits:
    """What GrabCut starts from: background outside the box, object at its core."""
    labels = np.full(shape[:2], cv2.GC_BGD, np.uint8)
    x0, y0, x1, y1 = window(box, shape)
    labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
    labels[y0:y1, x0:x1][ellipse((y1 - y0, x1 - x0), CORE) > 0] = cv2.GC_FGD
    return labels


def clean(bits: Bits) -> Bits:
    """The largest connected part, with its small holes filled."""
    parts, labels, stats, _ = cv2.connectedComponentsWithStats(bits)
    if parts == 1:
        return bits
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    bits = (labels == largest).astype(np.uint8)
    limit = MAX_HOLE * stats[largest, cv2.CC_STAT_AREA]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - bits, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= limit
    small[0] = False  # the object itself
    bits[small[labels]] = 1
    return bits


def ellipse(shape: tuple[int, ...], part: tuple[float, float] = (1.0, 1.0)) -> Bits:
    """The ellipse in the middle of an array of this shape; at least one pixel.

    Args:
        part: its axes as parts of the width and the height.
    """
    height, width = shape[:2]
    y, x = np.ogrid[:height, :width]
    dx = (2 * x + 1 - width) / max(1.0, part[0] * width)
    dy = (2 * y + 1 - height) / max(1.0, part[1] * height)
    return (dx * dx + dy * dy <= 1.0).astype(np.uint8)


def grown(box: Box, part: float) -> Box:
    """A box with this part of its sides added at each end."""
    x0, y0, x1, y1 = box
    dx, dy = part * (x1 - x0), part * (y1 - y0)
    return x0 - dx, y0 - dy, x1 + dx, y1 + dy


def window(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The whole pixels of an (H, W, ...) frame that a box touches, as x0, y0, x1, y1.

    At least one pixel, at the frame's edge where the box lies outside.
    """
    height, width = shape[:2]
    x0 = min(max(math.floor(box[0]), 0), width - 1)
    y0 = min(max(math.floor(box[1]), 0), height - 1)
    x1 = min(max(math.ceil(box[2]), x0 + 1), width)
    y1 = min(max(math.ceil(box[3]), y0 + 1), height)
    return x0, y0, x1, y1


def trimmed(x: int, y: int, bits: Bits) -> Mask:
    """The mask whose window began at x, y, in the smallest window that holds it."""
    dx, dy, width, height = cv2.boundingRect(bits)
    return Mask(x + dx, y + dy, np.ascontiguousarray(bits[dy : dy + height, dx : dx + width]))
