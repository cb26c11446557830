"""COCO run-length encoding of a mask from its window alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from worker.engines.base import Mask


def run_lengths(mask: Mask, height: int, width: int) -> NDArray[np.int64]:
    """Lengths of the runs of 0, 1, 0, ... over the whole frame in column-major order.

    The window is walked column by column with one 0 put before each and one at the end, so that
    no run passes from one column into the next; where the value changes is then mapped to the
    frame. Runs that touch there, in a window as high as the frame, are joined again.

    Returns:
        (n,) with a sum of height * width; the first may be 0, no other is.
    """
    h, w = mask.bits.shape
    walk = np.zeros(w * (h + 1) + 1, np.uint8)
    walk[:-1].reshape(w, h + 1)[:, 1:] = mask.bits.T
    column, row = np.divmod(np.flatnonzero(walk[1:] != walk[:-1]), h + 1)
    edges = (mask.x + column) * height + mask.y + row
    if h == height:
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
        edges = np.delete(edges, np.concatenate((2 * joined + 1, 2 * joined + 2)))
    size = height * width
    if len(edges) and edges[-1] == size:
        edges = edges[:-1]
    return np.diff(edges, prepend=0, append=size)


def encode(mask: Mask, height: int, width: int) -> str:
    """The ``counts`` of pycocotools' compressed RLE, whose ``size`` is [height, width].

    The same string as ``pycocotools.mask.encode`` makes of the whole frame's mask, without
    ever making that.
    """
    runs = run_lengths(mask, height, width)
    rle = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
    return str(rle["counts"], "ascii")


def decode(counts: str, height: int, width: int) -> Mask:
    """The mask of ``encode``'s string."""
    bits = coco.decode({"size": [height, width], "counts": counts})
    return Mask.from_full(np.asarray(bits, np.uint8))
