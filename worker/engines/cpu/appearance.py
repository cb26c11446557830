"""What an object looks like, cheaply: how light and colours are spread over the bands of its box.

By it a track is told from what is beside it, and found again where overlap has lost it.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray

from worker.video.planes import planes

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in frame pixels
Look = NDArray[np.float32]  # (BANDS * 3 * BINS,), of length 1

ROWS, COLUMNS = 24, 12  # of the grid of pixels that are read, whatever the size of the box
INNER_HEIGHT, INNER_WIDTH = 0.9, 0.6  # of the box: its rim is mostly background
BANDS = 3  # from top to bottom, each with histograms of its own: head, trunk and legs of a person
BINS = 16  # of each histogram
REACH = 64  # levels of chroma to either side of grey that are told apart: few colours go beyond


def looks(picture: av.VideoFrame, boxes: Sequence[Box]) -> list[Look]:
    """Describe what is in each box.

    Args:
        picture: yuv420p.

    Returns:
        Square roots of histograms of luma and both chroma planes, so that the product of two
        looks is their Bhattacharyya coefficient: 1 where they are equal, 0 where they share
        nothing.
    """
    if not boxes:
        return []
    corners = np.array(boxes)
    columns = _grid(corners[:, 0], corners[:, 2], COLUMNS, INNER_WIDTH)
    rows = _grid(corners[:, 1], corners[:, 3], ROWS, INNER_HEIGHT)
    levels = []
    for plane, step in zip(planes(picture), (1, 2, 2), strict=True):
        height, width = plane.shape
        y, x = (rows // step).clip(0, height - 1), (columns // step).clip(0, width - 1)
        levels.append(plane[y[:, :, None], x[:, None, :]].astype(np.intp))
    luma, *chroma = levels
    bins = [luma * BINS // 256]
    bins += [((each - 128 + REACH) * BINS // (2 * REACH)).clip(0, BINS - 1) for each in chroma]
    # One histogram for every box, band and plane: (boxes, 3, ROWS * COLUMNS) -> (boxes, bins).
    band = np.arange(ROWS)[:, None] * BANDS // ROWS
    places = np.stack([(band * 3 + plane) * BINS + each for plane, each in enumerate(bins)], axis=1)
    size = BANDS * 3 * BINS
    places += np.arange(len(boxes))[:, None, None, None] * size
    counts = np.bincount(places.ravel(), minlength=len(boxes) * size).reshape(len(boxes), size)
    return list(np.sqrt(counts / (3 * ROWS * COLUMNS)).astype(np.float32))


def alike(a: Look | None, b: Look | None) -> float:
    """How alike two looks are, 0 to 1; 1 where one is not known."""
    return 1.0 if a is None or b is None else float(a @ b)


def blend(known: Look | None, seen: Look | None, part: float) -> Look | None:
    """A running mean of looks, of length 1 again, to which the new one contributes ``part``."""
    if known is None or seen is None:
        return known if seen is None else seen
    mean = known + np.float32(part) * (seen - known)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def _grid(
    low: NDArray[np.float64], high: NDArray[np.float64], count: int, inner: float
) -> NDArray[np.intp]:
    """Whole pixels, evenly over the inner part of each span: (spans, count)."""
    at = (1 - inner) / 2 + inner * (np.arange(count) + 0.5) / count
    return (low[:, None] + (high - low)[:, None] * at).astype(np.intp)
