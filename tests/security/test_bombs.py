"""Files that ask for far more memory than they have: named early, and cheaply."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import pytest

from shoal.errors import VideoBomb
from tests import media
from tests.security import bombs, picture_bombs
from tests.security.bombs import Maker
from worker.video import bomb_guard, probe_child
from worker.video.probe import VideoLimits
from worker.video.source import open_source

CEILING_MB = 600

pytestmark = pytest.mark.timeout(900)  # the first test opens all bombs

ZTXT = picture_bombs.png_chunk(b"zTXt", b"a\0\0" + picture_bombs.zeros(100 << 20))
ITXT = picture_bombs.png_chunk(b"iTXt", b"a\0\1\0\0\0" + picture_bombs.zeros(100 << 20))
PNG = media.png(1)
EXIF = picture_bombs.exif(4000, 12_000)
HUGE = 250_000_000


def table_bomb(kind: str) -> Maker:
    """A table that announces far more entries than there are."""
    name = kind.encode()
    return lambda: bombs.tracks(1, 1000, **{kind: bombs.table(name, announced=HUGE)})


# By name of the file: what makes it, and what comes of it. A number: so many frames are read.
BOMBS: dict[str, tuple[Maker, str]] = {
    **{
        f"stsz-{n}.mp4": (partial(bombs.tracks, n, bombs.MANY // n), "video_bomb")
        for n in (1, 2, 4, 8)
    },
    "stts.mp4": (table_bomb("stts"), "not_a_video"),
    "stts-sum.mp4": (
        lambda: bombs.tracks(1, 9, stts=bombs.table(b"stts", *[bombs.u32(2**32 - 1, 1)] * 2)),
        "video_bomb",
    ),
    "ctts.mp4": (
        lambda: bombs.tracks(1, 20_000_000, ctts=bombs.table(b"ctts", bombs.u32(20_000_000, 1))),
        "video_bomb",
    ),
    "stco.mp4": (table_bomb("stco"), "no_frames"),
    "stsc.mp4": (table_bomb("stsc"), "not_a_video"),
    "stss.mp4": (table_bomb("stss"), "video_bomb"),
    "elst.mp4": (lambda: bombs.edited(1_000_000, 100), "video_bomb"),
    "trun.mp4": (lambda: bombs.fragmented(bombs.moof(1, 50_000_000)), "video_bomb"),
    "truns.mp4": (lambda: bombs.fragmented(bombs.moof(1, 5_000_000, 20)), "video_bomb"),
    "trun-later.mp4": (bombs.later_trun, "video_bomb"),
    "cmov.mp4": (bombs.cmov, "video_bomb"),
    "uuid.mp4": (lambda: bombs.announced_box(b"uuid"), "no_frames"),
    "meta.mp4": (lambda: bombs.announced_box(b"meta"), "no_frames"),
    "name.mp4": (lambda: bombs.announced_box(b"\xa9nam"), "no_frames"),
    "tags.mp4": (lambda: bombs.tags_mp4(30_000), "no_frames"),
    "cover.mp4": (lambda: bombs.cover(picture_bombs.png_with(*[ZTXT] * 8)), "no_frames"),
    "tags.mkv": (lambda: bombs.mkv_tags(500_000), "video_bomb"),
    "cues.mkv": (lambda: bombs.mkv_cues(1_500_000), "video_bomb"),
    "attachment.mkv": (bombs.mkv_attachment, "not_a_video"),
    "attachments.mkv": (lambda: bombs.mkv_attachments(400_000), "video_bomb"),
    "indx.avi": (lambda: bombs.avi_index_of_indexes(8000, 8000), "no_frames"),
    "idx1.avi": (lambda: bombs.avi_idx1(500_000), "no_frames"),
    "keyframes.flv": (lambda: bombs.flv(2**27), "not_a_video"),
    "streams.ogg": (lambda: bombs.ogg(10_000), "not_a_video"),
    "streams.ts": (lambda: bombs.mpegts(3000), "video_bomb"),
    "header.asf": (lambda: bombs.asf(2**30), "not_a_video"),
    "format.wav": (lambda: bombs.wav(65535, 2**32 - 1), "not_a_video"),
    "format.aiff": (bombs.aiff, "not_a_video"),
    "canvas.gif": (lambda: bombs.gif(65535, 3), "no_frames"),
    # Frames of a video are pictures, too.
    "exif.mov": (
        lambda: picture_bombs.picture_video("mjpeg", picture_bombs.exif_segment(EXIF)),
        "3",
    ),
    "ztxt.mov": (lambda: picture_bombs.picture_video("png", ZTXT * 4), "3"),
    # What is beside the pixels is dropped; the pictures themselves are good.
    "ztxt.tar": (lambda: picture_bombs.of_png(*[ZTXT] * 8), "3"),
    "itxt.tar": (lambda: picture_bombs.of_png(*[ITXT] * 8), "3"),
    "iccp.tar": (
        lambda: picture_bombs.of_png(
            picture_bombs.png_chunk(b"iCCP", b"a\0\0" + picture_bombs.zeros(300 << 20))
        ),
        "3",
    ),
    "exif-png.tar": (lambda: picture_bombs.of_png(picture_bombs.png_chunk(b"eXIf", EXIF)), "3"),
    "exif-jpeg.tar": (lambda: picture_bombs.of_jpeg(picture_bombs.exif_segment(EXIF)), "3"),
    "exif-after-scan.tar": (
        lambda: picture_bombs.of_jpeg(last=picture_bombs.exif_segment(EXIF)),
        "3",
    ),
    "text.tar": (
        lambda: picture_bombs.of_png(
            *(picture_bombs.png_chunk(b"tEXt", b"k%d\0v" % n) for n in range(5000))
        ),
        "3",
    ),
    "names.tar": (
        lambda: picture_bombs.pictures(*((f"{'1a' * 500}{n}.png", PNG) for n in range(8000))),
        "100",
    ),
    "pax.tar": (
        lambda: picture_bombs.pax(b"%d path=" % (200 << 20) + b"a" * (200 << 20)),
        "video_bomb",
    ),
    "pax-announced.tar": (
        lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"x", 0o77777777777), b"a"),
        "video_bomb",
    ),
    "gnu-name.tar": (
        lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"L", 1 << 32), b"a"),
        "video_bomb",
    ),
    "gnu-link.tar": (
        lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"K", 1 << 32), b"a"),
        "video_bomb",
    ),
    "pax-global.tar": (
        lambda: picture_bombs.tar_with(picture_bombs.tar_header(b"g", 1 << 32), b"a"),
        "video_bomb",
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each bomb, and the memory that took, by name."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, _) in BOMBS.items():
        (folder / name).write_bytes(make())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.security.opening", *(folder / name for name in BOMBS)],
            capture_output=True,
            text=True,
            timeout=800,
        )
        lines = done.stdout
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode()
    for name in BOMBS:
        (folder / name).unlink()
    return {line["name"]: line for line in map(json.loads, lines.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_named_and_takes_little(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    found = outcomes.get(name, {"outcome": "not reached", "peak_mb": 0})
    assert found["outcome"] == BOMBS[name][1]
    assert found["peak_mb"] < CEILING_MB


# --- what is no bomb --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("b.mov", "png", "rgb24"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
    ],
)
def test_a_good_video_is_read(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    path = tmp_path / name
    media.write_video(path, frames=30, codec=codec, pixel_format=pixel_format)
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(30))
    assert source.extent.decode_errors == 0


@pytest.mark.parametrize(
    ("frames", "options"), [(500_000, {}), (100_000, {"movflags": "frag_keyframe+empty_moov"})]
)
def test_a_video_of_very_many_frames_is_no_bomb(
    tmp_path: Path, frames: int, options: dict[str, str]
) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 16, 16
        picture = av.VideoFrame.from_ndarray(media.picture(1, 16, 16), format="rgb24")
        picture.pts = 0
        (packet,) = stream.encode(picture)
        data = bytes(packet)
        for number in range(frames):
            copy = av.Packet(data)
            copy.stream, copy.time_base = stream, Fraction(1, 30)
            copy.pts = copy.dts = number
            copy.is_keyframe = number % 300 == 0
            container.mux(copy)
    with open_source(path, sample_fps=0, max_frames=5) as source:
        assert len(list(source.frames())) == 5
        assert source.info.frames == (0 if options else frames)  # fragments do not announce it


# --- the guard --------------------------------------------------------------------------------


def test_a_video_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    media.write_video(path, frames=5)
    bomb_guard.guard(path, VideoLimits())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a second look"))
    bomb_guard.guard(path, VideoLimits())


def test_what_crashes_or_computes_for_long_is_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    media.write_video(path, frames=5)
    for script, message in (
        ("import os; os.abort()", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "computing"),
    ):
        (tmp_path / "stand_in.py").write_text(script)
        monkeypatch.setattr(probe_child, "__name__", "stand_in")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(VideoBomb, match=message):
            bomb_guard.guard(path, VideoLimits())


def test_what_grows_only_while_it_is_read_is_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it lies beyond what is read beforehand."""
    monkeypatch.setattr(bomb_guard, "_probe", lambda *_: None)
    (tmp_path / "a.mp4").write_bytes(bombs.later_trun())
    with pytest.raises(VideoBomb):
        open_source(tmp_path / "a.mp4")


def test_a_large_file_may_have_large_tables() -> None:
    small, large = probe_child.table_room(1000), probe_child.table_room(1 << 30)
    assert small < 200 << 20 < large < probe_child.table_room(1 << 40) == 1 << 30
