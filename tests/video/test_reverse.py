"""Reading from behind: the very frames of a forward read, in windows that fit into memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import StartFrameNotFound, TruncatedVideo
from tests import media
from tests.video.test_resume import CLIPS, TRACKING_FPS, write
from worker.video import reverse
from worker.video.frame import Frame
from worker.video.planes import fingerprint
from worker.video.reverse import Backward, Survey, survey
from worker.video.source import Source, open_source

WINDOW = 7  # frames
Seen = tuple[int, float, bool, int]

CASES: dict[str, Callable[[Path], None]] = {name: case[0] for name, case in CLIPS.items()}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("clips")

    def clip(name: str) -> Path:
        if not (folder / name).exists():
            CASES[name](folder / name)
        return folder / name

    return clip


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "WINDOW_BYTES", WINDOW * 160 * 120 * 3 // 2)


def opened(path: Path, start_frame: int | None = None, **options: Any) -> Source:
    options = {"sample_fps": 1.0, "sequence_fps": 25, "start_frame": start_frame} | options
    return open_source(path, **options)


def seen(frame: Frame) -> Seen:
    return frame.index, frame.time_s, frame.wanted, fingerprint(frame.picture)


def forward(path: Path, start_frame: int | None = None, **options: Any) -> list[Seen]:
    """A forward read of the whole video."""
    with opened(path, start_frame, **options) as source:
        return [seen(frame) for frame in source.frames(TRACKING_FPS)]


def backward(
    path: Path, start_frame: int | None = None, before: int | None = None, **options: Any
) -> list[Seen]:
    with opened(path, start_frame, **options) as source:
        surveyed = survey(source, TRACKING_FPS, start_frame)
        feed = Backward(source, surveyed, before=before)
        return [seen(frame) for frame in feed.frames(TRACKING_FPS)]


@pytest.mark.parametrize("name", CASES)
def test_the_frames_are_those_of_a_forward_read(clips: Callable[[str], Path], name: str) -> None:
    """Constant and variable rate, B-frames, rotated, damaged, cut together, pictures."""
    frames = forward(clips(name))
    assert len(frames) > 2 * WINDOW
    assert backward(clips(name)) == frames[::-1]


@pytest.mark.parametrize("name", ["long-gop.mp4", "irregular.mkv", "seam.ts", "frames.tar"])
@pytest.mark.parametrize("start", [0, 1, 6, 7, 13, 20])
def test_the_frames_from_a_start_on(clips: Callable[[str], Path], name: str, start: int) -> None:
    path = clips(name)
    expected = [frame for frame in forward(path, start) if frame[0] <= start]
    assert expected[-1][0] == start
    assert expected[-1][2], "it is written, whatever the rate"
    assert backward(path, start) == expected[::-1]
    with opened(path, start) as source:
        source.skip_to_start()
        after = [seen(frame) for frame in source.frames(TRACKING_FPS)]
    assert after[0] == expected[-1]
    assert after[1:] == [frame for frame in forward(path, start) if frame[0] > start]


@pytest.mark.parametrize("before", [0, 1, 14, 21, 22, 40, 200])
def test_reading_goes_on_before_a_frame(clips: Callable[[str], Path], before: int) -> None:
    path = clips("long-gop.mp4")
    expected = [frame for frame in backward(path, sample_fps=0) if frame[0] < before]
    assert backward(path, before=before, sample_fps=0) == expected


def test_a_limit_counts_written_frames(clips: Callable[[str], Path]) -> None:
    with opened(clips("long-gop.mp4")) as source:
        feed = Backward(source, survey(source, TRACKING_FPS, None), max_frames=2)
        frames = [seen(frame) for frame in feed.frames(TRACKING_FPS)]
    assert [frame[0] for frame in frames if frame[2]] == [100, 75]
    assert frames[-1][0] == 75


def test_memory_is_bounded_by_a_window(
    clips: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    class Noted(Frame):
        """A frame that can be counted."""

        __slots__ = ("__weakref__",)

    def note(*fields: Any) -> Frame:
        nonlocal most
        frame = Noted(*fields)
        alive.append(weakref.ref(frame))
        most = max(most, sum(ref() is not None for ref in alive))
        return frame

    monkeypatch.setattr("worker.video.source.Frame", note)
    with opened(clips("long-gop.mp4"), sample_fps=0) as source:
        feed = Backward(source, survey(source, 0, None))
        assert sum(1 for _ in feed.frames()) == 120
    assert most <= WINDOW + 2  # the last frame that was yielded, and that of the survey


@pytest.mark.parametrize("name", ["long-gop.mp4", "folder", "frames.tar"])
def test_a_start_beyond_the_end(clips: Callable[[str], Path], name: str) -> None:
    last = forward(clips(name), sample_fps=0)[-1][0]
    assert backward(clips(name), last)[0][0] == last
    with pytest.raises(StartFrameNotFound, match=f"at frame {last + 1}, .* is {last}$"):
        backward(clips(name), last + 1)
    with opened(clips(name), last + 1) as source:
        source.skip_to_start()
        with pytest.raises(StartFrameNotFound, match=f"at frame {last + 1}, .* is {last}$"):
            list(source.frames())


def test_a_start_that_cannot_be_decoded(tmp_path: Path) -> None:
    """The next one takes its place: forward the one after, backward the one before."""
    media.write_folder(tmp_path / "folder", frames=20)
    (tmp_path / "folder" / "frame11.jpg").write_bytes(b"no picture")
    with opened(tmp_path / "folder", 10, sample_fps=0) as source:
        source.skip_to_start()
        assert next(source.frames()).index == 11
    assert [frame[0] for frame in backward(tmp_path / "folder", 10, sample_fps=0)] == [
        *range(9, -1, -1)
    ]


def test_what_is_amiss_shows_in_the_survey(tmp_path: Path) -> None:
    media.write_truncated_mkv(tmp_path / "cut.mkv")
    with pytest.raises(TruncatedVideo):
        backward(tmp_path / "cut.mkv")
    with opened(tmp_path / "cut.mkv", allow_truncated=True) as source:
        list(source.frames())
        expected = source.extent
    with opened(tmp_path / "cut.mkv", allow_truncated=True) as source:
        found: Survey = survey(source, 0, None)
        feed = Backward(source, found)
        list(feed.frames())
        assert feed.extent == expected
    assert expected.truncated


def test_windows_are_entered_near_their_key_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backward read decodes a window and what lies before it back to a key frame, no more."""
    write(tmp_path / "clip.mp4", g="20", bf="2")
    decoded = 0
    with opened(tmp_path / "clip.mp4", sample_fps=0) as source:
        found = survey(source, 0, None)
        resume = source._reader.resume

        def counting(mark: Any, is_it: Any, on_picture: Callable[[], None]) -> None:
            def count() -> None:
                nonlocal decoded
                decoded += 1

            resume(mark, is_it, count)

        monkeypatch.setattr(source._reader, "resume", counting)
        list(Backward(source, found).frames())
    assert decoded <= 20 * len(found.windows)
