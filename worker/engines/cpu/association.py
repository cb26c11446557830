"""Which detection is which track: by where it is and by what it looks like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engines.cpu.appearance import Box, alike
from worker.engines.cpu.track import BoxTrack, Detection, TrackState, centre

MIN_OVERLAP = 0.2  # buffered IoU below which a track and a detection are not the same
LOOK_POWER = 3  # looks of different objects are mostly 0.7 to 0.9 alike: this tells them apart
REJOIN_LIKENESS = 0.9  # of looks, from which a lost track and a new one are the same ...
REJOIN_REACH = 4.0  # ... if they are no further apart than so many sides of the larger box


def match(
    tracks: Sequence[BoxTrack], detections: Sequence[Detection], buffer: float, min_likeness: float
) -> tuple[list[tuple[BoxTrack, Detection]], list[BoxTrack], list[Detection]]:
    """Pair greedily, the most similar first: pairs, tracks left, detections left.

    Args:
        buffer: see ``buffered_iou``.
        min_likeness: of looks, below which they are not the same, wherever they are.
    """
    if not tracks or not detections:
        return [], list(tracks), list(detections)
    overlap = buffered_iou(
        np.array([t.box for t in tracks]), np.array([d.box for d in detections]), buffer
    )
    candidates = []
    for row, column in np.argwhere(overlap >= MIN_OVERLAP).tolist():
        track, detection = tracks[row], detections[column]
        likeness = alike(track.look, detection.look)
        if track.label == detection.label and likeness >= min_likeness:
            candidates.append((-overlap[row, column] * likeness**LOOK_POWER, row, column))

    free_tracks, free_detections = dict(enumerate(tracks)), dict(enumerate(detections))
    pairs = []
    for _, row, column in sorted(candidates):
        if row in free_tracks and column in free_detections:
            pairs.append((free_tracks.pop(row), free_detections.pop(column)))
    return pairs, list(free_tracks.values()), list(free_detections.values())


def find_earlier(track: BoxTrack, others: Iterable[BoxTrack]) -> BoxTrack | None:
    """The track that an object had before it was lost, if one looks like this new track.

    Args:
        others: all that may be it; those that are no objects, of other labels, or were seen since
            the new one began are passed over.
    """
    found = [
        (likeness, other.number, other)
        for other in others
        if other.state in (TrackState.CONFIRMED, TrackState.LOST)
        and other.label == track.label
        and other.misses >= track.age
        and other.look is not None
        and track.look is not None
        and _distance(other.box, track.box) <= REJOIN_REACH
        and (likeness := alike(other.look, track.look)) >= REJOIN_LIKENESS
    ]
    return max(found)[2] if found else None


def _distance(a: Box, b: Box) -> float:
    """Between two boxes' centres, in sides of the larger one."""
    side = max(a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1])
    return math.dist(centre(a), centre(b)) / side


def buffered_iou(
    a: NDArray[np.float64], b: NDArray[np.float64], buffer: float
) -> NDArray[np.float64]:
    """Intersection over union of boxes grown by ``buffer`` pixels on every side.

    Args:
        a: (M, 4), x0, y0, x1, y1.
        b: (N, 4), likewise.

    Returns:
        (M, N), 0 to 1.
    """
    grow = np.array([-buffer, -buffer, buffer, buffer])
    a, b = (a + grow)[:, None], (b + grow)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = sides.clip(min=0.0).prod(axis=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (a, b))
    iou: NDArray[np.float64] = overlap / (area_a + area_b - overlap)
    return iou
