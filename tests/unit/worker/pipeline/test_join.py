"""Parts of results, put together."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.attempts import times
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs.join import join, join_tables, join_videos
from worker.outputs.masks import SCHEMA, MasksSink
from worker.video.encode import TIME_BASE, Encoder
from worker.video.frame import Frame, VideoInfo

VIDEO = VideoInfo(160, 120, 25.0, 0.0, 0, "h264")


def picture(number: int) -> av.VideoFrame:
    rgb = np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


def encode(path: Path, frames: list[tuple[int, float]]) -> Path:
    """An overlay of these pictures, (number, seconds)."""
    encoder = Encoder(path, VIDEO, 25.0)
    for number, time_s in frames:
        encoder.write(picture(number), time_s)
    encoder.close()
    return path


def regular(count: int) -> list[float]:
    return [number * 1001 / 24000 for number in range(count)]


def irregular(count: int) -> list[float]:
    """Dense before each tenth frame and sparse after it: where the parts below begin."""
    steps = [0.5 if number % 10 < 5 else 0.004 for number in range(count)]
    return [0.0, *itertools.accumulate(steps[:-1])]


@pytest.mark.parametrize("pace", [regular, irregular])
def test_a_joined_video_has_the_frames_and_times_of_a_straight_one(
    tmp_path: Path, pace: Callable[[int], list[float]]
) -> None:
    frames = list(enumerate(pace(40)))
    cuts = [0, 1, 10, 20, 37, 40]  # parts of one frame and of few
    parts = [
        encode(tmp_path / f"{start}.mp4", frames[start:end])
        for start, end in itertools.pairwise(cuts)
    ]
    join_videos(parts, tmp_path / "joined.mp4")
    straight = times(encode(tmp_path / "straight.mp4", frames))
    assert times(tmp_path / "joined.mp4") == straight
    assert straight == [float(round(time_s / TIME_BASE) * TIME_BASE) for _, time_s in frames]


def test_a_joined_video_is_one_stream_that_can_be_entered_anywhere(tmp_path: Path) -> None:
    frames = list(enumerate(regular(30)))
    parts = [encode(tmp_path / f"{n}.mp4", frames[n : n + 10]) for n in (0, 10, 20)]
    join_videos(parts, tmp_path / "joined.mp4")
    data = (tmp_path / "joined.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # it plays before it is all there
    with av.open(str(tmp_path / "joined.mp4")) as container:
        assert len(container.streams) == 1
        stream = container.streams.video[0]
        assert stream.time_base is not None
        assert (stream.codec_context.name, stream.frames) == ("h264", 30)
        decoded = [frame.to_ndarray() for frame in container.decode(stream)]
        packets = sum(part.stat().st_size for part in parts)
        assert len(data) < packets + 1000  # nothing was encoded again
        container.seek(round(frames[25][1] / stream.time_base), stream=stream)
        assert next(container.decode(stream)).pts == round(frames[20][1] / TIME_BASE)
    pieces = [frame.to_ndarray() for part in parts for frame in av.open(str(part)).decode(video=0)]
    assert all(np.array_equal(a, b) for a, b in zip(decoded, pieces, strict=True))


def write_masks(path: Path, rows: list[tuple[int, str]]) -> Path:
    """A table with a row for each (frame, prompt)."""
    sink = MasksSink(path, VIDEO)
    for index, prompt in rows:
        mask = Mask(index, 3, np.ones((4, 5), np.uint8))
        item = ObjectResult(index + 1, prompt, 0.5 + index / 1000, (index, 3, index + 5, 7), mask)
        sink.write(Frame(index, index / 25, picture(0), True), FrameResult(index, [item]))
    sink.close()
    return path


def test_joined_tables_have_the_rows_of_a_straight_one(tmp_path: Path) -> None:
    """The dictionaries of the parts differ, and one part has no rows at all."""
    rows = [(i, "ball" if i > 5 else "person") for i in range(12)] + [(12, "a referee")]
    cuts = [0, 4, 4, 8, 13]
    parts = [
        write_masks(tmp_path / f"{number}.parquet", rows[start:end])
        for number, (start, end) in enumerate(itertools.pairwise(cuts))
    ]
    join_tables(parts, tmp_path / "joined.parquet")
    straight = pq.read_table(write_masks(tmp_path / "straight.parquet", rows))
    joined = pq.read_table(tmp_path / "joined.parquet")
    assert joined.schema.equals(SCHEMA)
    assert pa.types.is_dictionary(joined.schema.field("prompt").type)
    assert joined.to_pylist() == straight.to_pylist()
    assert pq.ParquetFile(tmp_path / "joined.parquet").num_row_groups == 3


def test_one_part_is_taken_as_it_is(tmp_path: Path) -> None:
    part = tmp_path / "part.mp4"
    assert join(join_videos, [part], tmp_path / "whole.mp4") == part
    assert not (tmp_path / "whole.mp4").exists()
