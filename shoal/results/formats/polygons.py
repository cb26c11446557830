"""Masks as polygons, for formats that have nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

from shoal.results.formats.tables import Row

Ring = NDArray[np.float64]


def rings(row: Row) -> list[Ring]:
    """The outlines of a mask's connected parts, the largest first; holes are filled.

    Each is (n, 2): x and y in pixels, where the first pixel reaches from 0 to 1. An outline runs
    halfway between the centres of pixels inside and outside (marching squares), so the pixels whose
    centres it encloses are those of the mask.
    """
    left, top, width, height = row.window
    if not width:
        return []
    window = np.pad(row.mask()[top : top + height, left : left + width], 1).astype(np.float32)
    generator = contour_generator(z=window, fill_type=FillType.OuterOffset)
    parts: Any = generator.filled(0.5, np.inf)  # a list of points, and of where their rings end
    found: list[Ring] = []
    for points, ends in zip(*parts, strict=True):
        outer = np.asarray(points[: ends[1] - 1], np.float64)  # its last point is its first
        found.append(_without_collinear(outer) + np.array((left - 0.5, top - 0.5)))
    return sorted(found, key=area, reverse=True)


def area(ring: Ring) -> float:
    """In square pixels (the shoelace formula)."""
    x, y = ring.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def joined(parts: list[Ring]) -> Ring:
    """One polygon of several, connected by lines of no width, as Ultralytics' converter does."""
    closed = [np.concatenate((ring, ring[:1])) for ring in parts]
    ways_back = [ring[:1] for ring in parts[-2::-1]]
    return np.concatenate((*closed, *ways_back))


def _without_collinear(ring: Ring) -> Ring:
    """Without points on the straight line between their neighbours."""
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return np.asarray(ring[turns])
