"""Results that come last frame first become ordinary files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.media import picture, picture_number, seconds
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs import reversed as module
from worker.outputs.base import Sink
from worker.outputs.join import join_tables, join_videos
from worker.outputs.masks import MasksSink
from worker.outputs.overlay import OverlaySink
from worker.outputs.reversed import Reversed
from worker.video.frame import Frame, VideoInfo

INFO = VideoInfo(160, 120, fps=25, duration_s=0, frames=0, codec="made up")
FRAMES = 23


def frame(index: int) -> Frame:
    made = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(format="yuv420p")
    return Frame(index, index / 25, made, wanted=True)


def result(index: int) -> FrameResult:
    mask = Mask(index, 100, np.ones((4, 4), np.uint8))
    box = (index, 100.0, index + 4.0, 104.0)
    return FrameResult(index, [ObjectResult(1, "person", 0.5, box, mask)])


def overlay(path: Path) -> Sink:
    return OverlaySink(path, INFO, ["person"], 25)


def masks(path: Path) -> Sink:
    return MasksSink(path, INFO)


def feed(sink: Reversed, first: int = 0) -> None:
    for index in range(FRAMES - 1, first - 1, -1):
        sink.write(frame(index), result(index))


@pytest.fixture(params=[1, 5, FRAMES, 1000], ids=lambda frames: f"pieces-of-{frames}")
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many frames make a piece."""
    frames: int = request.param
    monkeypatch.setattr(module, "PIECE_BYTES", frames * (INFO.frame_bytes + 16))
    return frames


def test_the_overlay_plays_forward(tmp_path: Path, piece: int) -> None:
    sink = Reversed(tmp_path / "a.overlay.mp4", overlay, join_videos)
    assert sink.name == "overlay"
    feed(sink)
    sink.close()
    with av.open(str(tmp_path / "a.overlay.mp4")) as container:
        stream = container.streams.video[0]
        shown = [
            (picture_number(each), round(seconds(each) * 25)) for each in container.decode(stream)
        ]
    assert shown == [(index, index) for index in range(FRAMES)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.overlay.mp4"]


def test_the_rows_are_in_the_order_of_frames(tmp_path: Path, piece: int) -> None:
    sink = Reversed(tmp_path / "a.masks.parquet", masks, join_tables)
    feed(sink)
    sink.close()
    table = pq.read_table(tmp_path / "a.masks.parquet")
    assert table["frame"].to_pylist() == list(range(FRAMES))
    assert [path.name for path in tmp_path.iterdir()] == ["a.masks.parquet"]


def test_no_more_is_held_than_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * (INFO.frame_bytes + 16))
    sink = Reversed(tmp_path / "a.masks.parquet", masks, join_tables)
    for index in range(FRAMES - 1, -1, -1):
        sink.write(frame(index), result(index))
        assert len(sink._held) <= 5
    sink.close()


@pytest.mark.parametrize("open_sink", [overlay, masks])
@pytest.mark.parametrize("first", [0, 3, 20])
def test_nothing_is_left_of_what_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_sink: type[Sink], first: int
) -> None:
    """Between pieces, in the middle of one, and before the first."""
    monkeypatch.setattr(module, "PIECE_BYTES", 5 * (INFO.frame_bytes + 16))
    suffix, join = (".mp4", join_videos) if open_sink is overlay else (".parquet", join_tables)
    sink = Reversed(tmp_path / f"a{suffix}", open_sink, join)
    feed(sink, first)
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_a_piece_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    class Full(MasksSink):
        def write(self, frame: Frame, result: FrameResult) -> None:
            raise OSError("no space")

    sink = Reversed(tmp_path / "a.parquet", lambda path: Full(path, INFO), join_tables)
    feed(sink)
    with pytest.raises(OSError, match="no space"):
        sink.close()
    sink.abort()
    assert not list(tmp_path.iterdir())
