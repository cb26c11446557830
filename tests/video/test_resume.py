"""Reading that continues in the middle of a video, picture for picture as if it had not stopped."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from shoal.errors import CheckpointUnusable, TruncatedVideo
from tests import media
from worker.video.decode import VideoFile
from worker.video.planes import fingerprint
from worker.video.position import Position
from worker.video.source import Source, open_source

FRAMES = 120
TIME_BASE = Fraction(1, 90_000)


def write(
    path: Path,
    codec: str = "libx264",
    *,
    irregular: bool = False,
    frames: int = FRAMES,
    **options: str,
) -> None:
    """Noise that moves: no two pictures are alike, and most are coded as differences."""
    random = np.random.default_rng(0)
    first = random.integers(0, 255, (120, 160, 3), np.uint8)
    times = np.cumsum(random.uniform(0.01, 0.09, frames)) if irregular else None
    with av.open(str(path), "w") as container:
        stream = media.add_video(
            container,
            codec,
            options={key.replace("_", "-"): value for key, value in options.items()},
        )
        if codec != "mpeg4":
            stream.codec_context.time_base = TIME_BASE
        for number in range(frames):
            rgb = np.roll(first, 3 * number, axis=1)
            rgb[:20, :40] = random.integers(0, 255, (20, 40, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if codec == "mpeg4":
                frame.pts = number
            else:
                time_s = times[number] if times is not None else number / 25
                frame.pts, frame.time_base = round(time_s / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def rotated(path: Path) -> None:
    media.write_rotated(path, media.MATRICES[90], frames=60)


def seam(path: Path) -> None:
    """Two recordings end to end: the timestamps start over."""
    write(path, frames=60, g="20")
    path.write_bytes(path.read_bytes() * 2)


def damaged(path: Path) -> None:
    write(path, g="10")
    media.damage(path, (35, 77))


# name -> how it is written, and whether it can be entered in the middle
CLIPS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "long-gop.mp4": (lambda path: write(path, g="50", bf="3"), True),
    "open-gop.mp4": (
        lambda path: write(path, g="20", bf="3", x264_params="open-gop=1"),
        True,
    ),
    "one-gop.mp4": (lambda path: write(path, g="1000", bf="3"), True),
    "long-gop.ts": (lambda path: write(path, g="50", bf="3"), True),
    "refresh.ts": (lambda path: write(path, x264_params="intra-refresh=1:keyint=30"), True),
    "irregular.mp4": (lambda path: write(path, irregular=True, g="30"), True),
    "irregular.mkv": (lambda path: write(path, irregular=True, g="30"), True),
    "mpeg4.avi": (lambda path: write(path, "mpeg4"), True),
    "vp9.webm": (
        lambda path: write(path, "libvpx-vp9", g="30", deadline="realtime", cpu_used="8"),
        True,
    ),
    "rotated.mp4": (rotated, True),
    "seam.ts": (seam, False),
    "damaged.mp4": (damaged, True),
    "folder": (lambda path: media.write_folder(path, 30), True),
    "frames.tar": (lambda path: media.write_frames_tar(path, 30), True),
}


class Seen(NamedTuple):
    """A frame as it came, its picture as a checksum."""

    index: int  # over tuple.index, which nothing here calls
    time_s: float
    wanted: bool
    picture: int
    position: Position


TRACKING_FPS = 15.0


def opened(path: Path, sample_fps: float = 1.0, max_frames: int = 0) -> Source:
    return open_source(path, sample_fps=sample_fps, max_frames=max_frames, sequence_fps=25)


def read(source: Source) -> list[Seen]:
    return [
        Seen(f.index, f.time_s, f.wanted, fingerprint(f.picture), source.position())
        for f in source.frames(TRACKING_FPS)
    ]


def facts(source: Source) -> tuple[float, ...]:
    """What is known at the end."""
    return (
        source.frames_read,
        source.last_time_s,
        source.extent.missing_s,
        source.extent.decode_errors,
    )


def assert_exact(path: Path, sample_fps: float = 1.0, max_frames: int = 0) -> int:
    """Cut a video at many frames, the first and the last too; returns the pictures passed by."""
    passed = 0

    def on_picture() -> None:
        nonlocal passed
        passed += 1

    with opened(path, sample_fps, max_frames) as source:
        straight, end = read(source), facts(source)
    for cut in sorted({*range(0, len(straight), 9), len(straight) - 1}):
        with opened(path, sample_fps, max_frames) as source:
            source.resume(straight[cut].position, straight[cut].picture, on_picture)
            assert read(source) == straight[cut + 1 :]
            assert facts(source) == end
    return passed


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("clips")

    def clip(name: str) -> Path:
        if not (folder / name).exists():
            CLIPS[name][0](folder / name)
        return folder / name

    return clip


@pytest.mark.parametrize("name", CLIPS)
def test_what_follows_is_the_same(clips: Callable[[str], Path], name: str) -> None:
    assert_exact(clips(name))


def test_what_follows_is_the_same_up_to_a_limit(clips: Callable[[str], Path]) -> None:
    assert_exact(clips("long-gop.mp4"), sample_fps=4, max_frames=9)


@pytest.mark.parametrize("name", [name for name, (_, enters) in CLIPS.items() if enters])
def test_the_way_there_is_short(
    clips: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is reached without counting from the start."""
    with opened(clips(name)) as source:
        last = read(source)[-1]
    monkeypatch.setattr(VideoFile, "pictures", None)  # what counting goes through
    with opened(clips(name)) as source:
        source.resume(last.position, last.picture)


def test_a_picture_that_differs_is_counted_to(clips: Callable[[str], Path]) -> None:
    """Where the key frame before does not lead to the same picture, reading from the start does."""
    passed = 0

    def on_picture() -> None:
        nonlocal passed
        passed += 1

    with opened(clips("long-gop.mp4")) as source:
        straight = read(source)
    at = straight[-5]
    with opened(clips("long-gop.mp4")) as source:
        source.resume(at.position, at.picture ^ 1, on_picture)
        assert read(source) == straight[-4:]
    assert passed > at.index


@pytest.mark.parametrize("name", ["long-gop.mp4", "seam.ts", "folder"])
def test_a_place_that_is_not_there(clips: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    with opened(clips(name)) as source:
        last = read(source)[-1]
    short = tmp_path / name
    if name == "folder":
        media.write_folder(short, 10)
    else:
        write(short, frames=10)
    with opened(short) as source, pytest.raises(CheckpointUnusable):
        source.resume(last.position, last.picture)


def test_a_video_that_was_cut_off_is_noticed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    write(path, frames=200, g="20")
    with opened(path) as source:
        early = read(source)[5]
    media.cut(path, 0.5)
    with opened(path) as source:
        source.resume(early.position, early.picture)
        with pytest.raises(TruncatedVideo):
            read(source)
