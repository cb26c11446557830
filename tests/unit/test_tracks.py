"""Who is to be seen when, from a mask table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shoal.results import Track
from tests.unit.test_sinks_masks import VIDEO, frame
from worker.predictors.base import FrameResult, Mask, ObjectResult
from worker.sinks.masks import MasksSink
from worker.tracks import read_tracks


def table(folder: Path, seen: dict[int, set[int]]) -> Path:
    """A mask table of 40 frames, 10 a second: object id -> the frames that it is on."""
    sink = MasksSink(folder / "masks.parquet", VIDEO)
    mask = Mask(0, 0, np.ones((2, 2), np.uint8))
    for index in range(40):
        objects = [
            ObjectResult(object_id, f"prompt {object_id}", 0.5, (0, 0, 2, 2), mask)
            for object_id, frames in seen.items()
            if index in frames
        ]
        sink.write(frame(index), FrameResult(index, objects))
    sink.close()
    return folder / "masks.parquet"


def test_an_object_that_leaves_and_returns_has_two_spans(tmp_path: Path) -> None:
    path = table(tmp_path, {7: {5, 6, 8, 20, 21}, 3: {30}})
    assert read_tracks(path, 10) == [
        Track(object_id=7, prompt="prompt 7", frames=5, spans=[(0.5, 0.8), (2.0, 2.1)]),
        Track(object_id=3, prompt="prompt 3", frames=1, spans=[(3.0, 3.0)]),
    ]


def test_what_is_missing_depends_on_the_frames_written(tmp_path: Path) -> None:
    """At one frame in ten, ten frames without an object are none that it was missing on."""
    (track,) = read_tracks(table(tmp_path, {1: {0, 10, 20}}), 1)
    assert track.spans == [(0.0, 2.0)]


def test_no_objects_and_a_single_frame(tmp_path: Path) -> None:
    assert read_tracks(table(tmp_path, {}), 10) == []
    (track,) = read_tracks(table(tmp_path, {1: {0}}), 0)
    assert track.spans == [(0.0, 0.0)]
