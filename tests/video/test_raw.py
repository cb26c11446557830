"""Streams without a container, and animated pictures: all frames, each at its time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from shoal.errors import NotAVideo, Stopped, TruncatedVideo, VideoTooLarge
from shoal.ingest.decide import UploadedObject, is_video
from shoal.model.job import Deinterlace
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Fake
from worker.video.probe import VideoLimits
from worker.video.source import open_source

FRAMES = 20
X265 = {"x265-params": "log-level=none"}
# Codec, pixel format, options, and the rate that the file has: 25 where it cannot say.
RAW: dict[str, tuple[str, str, dict[str, str], int]] = {
    "a.h264": ("libx264", "yuv420p", {}, 30),
    "b-frames.264": ("libx264", "yuv420p", {"x264-params": "b-adapt=0:bframes=3"}, 30),
    "a.hevc": ("libx265", "yuv420p", X265, 30),
    "a.265": ("libx265", "yuv420p", X265, 50),
    "a.mjpeg": ("mjpeg", "yuvj420p", {}, 25),
    "a.mjpg": ("mjpeg", "yuvj420p", {}, 25),
    "a.y4m": ("rawvideo", "yuv420p", {}, 30),
    "a.ivf": ("libvpx", "yuv420p", {}, 30),
    "av1.ivf": ("libsvtav1", "yuv420p", {"preset": "12"}, 30),
    "a.obu": ("libsvtav1", "yuv420p", {"preset": "12"}, 25),
    "a.m2v": ("mpeg2video", "yuv420p", {}, 30),
    "a.m4v": ("mpeg4", "yuv420p", {}, 30),
}
FORMATS = {".264": "h264", ".265": "hevc", ".y4m": "yuv4mpegpipe", ".mjpg": "mjpeg", ".m4v": "m4v"}


@contextmanager
def usual_priority() -> Iterator[None]:
    """For root, SVT-AV1 makes its caller a real-time thread, and with it all processes that it
    starts from then on: other tests would stand still beside them."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):  # not on macOS
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def write(path: Path) -> int:
    codec, pixel_format, options, fps = RAW[path.name]
    with usual_priority(), av.open(str(path), "w", format=FORMATS.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = media.WIDTH, media.HEIGHT, pixel_format
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(media.picture(number), format="rgb24")
            frame.pts, frame.time_base = number, 1 / stream.average_rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return fps


@pytest.mark.parametrize("name", RAW)
def test_every_frame_of_a_raw_stream_comes_at_its_time(tmp_path: Path, name: str) -> None:
    fps = write(tmp_path / name)
    with open_source(tmp_path / name, sample_fps=0) as source:
        frames = list(source.frames())
        assert source.info.fps == pytest.approx(fps)
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(FRAMES))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [number / fps for number in range(FRAMES)], abs=1e-3
    )
    assert source.extent.missing_s == 0


@pytest.mark.parametrize("name", ["a.h264", "a.hevc", "a.mjpeg", "a.y4m", "a.obu"])
def test_an_interrupted_one_goes_on_at_its_place(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    job = Job(tmp_path / name, tmp_path, Fake)
    with pytest.raises(Stopped):
        job.attempt(Line(stop_at=9))
    job.attempt()
    assert job.metadata()["resumed"] == 1
    assert [row["frame"] for row in job.rows()[::2]] == list(range(FRAMES))


@pytest.mark.parametrize("name", [*RAW, "a.apng", "a.dv", "a.mp4"])
def test_ingest_takes_them_for_videos_by_their_suffix(name: str) -> None:
    assert is_video(UploadedObject(f"s3://bucket/{name}"), "**")


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_what_is_mostly_a_still_is_a_video_where_it_is_named(name: str) -> None:
    upload = UploadedObject(f"s3://bucket/{name}")
    assert not is_video(upload, "**")
    assert is_video(upload, f"**/*{Path(name).suffix}")


# --- animations -----------------------------------------------------------------------------------

DELAYS_MS = (500, 100, 100, 1000, 200, 2000)
STARTS_S = (0.0, 0.5, 0.6, 0.7, 1.7, 1.9)


def animate(path: Path, **how: Any) -> None:
    first, *others = (Image.fromarray(media.picture(number)) for number in range(6))
    first.save(path, save_all=True, append_images=others, duration=list(DELAYS_MS), **how)


@pytest.mark.parametrize("lossless", [True, False])
def test_animated_webp_has_all_pictures_at_their_times(tmp_path: Path, lossless: bool) -> None:
    path = tmp_path / "a.webp"
    animate(path, lossless=lossless, quality=95)
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
        assert (source.info.frames, source.info.codec) == (6, "webp")
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(6))
    assert [frame.time_s for frame in frames] == pytest.approx(STARTS_S)
    shown = frames[3].picture.to_ndarray(format="rgb24").astype(int)
    assert np.abs(shown - media.picture(3))[40:80, 8:72].max() <= 8


def test_animated_png_has_all_pictures_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "a.apng"
    animate(path, format="PNG")
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(6))
    assert [frame.time_s for frame in frames] == pytest.approx(STARTS_S, abs=2e-3)


def test_an_interrupted_animation_goes_on_at_its_place(tmp_path: Path) -> None:
    animate(tmp_path / "a.webp", lossless=True)
    job = Job(tmp_path / "a.webp", tmp_path, Fake)
    with pytest.raises(Stopped):
        job.attempt(Line(stop_at=3))
    job.attempt()
    assert job.metadata()["resumed"] == 1
    assert [row["frame"] for row in job.rows()[::2]] == list(range(6))


def test_a_still_webp_is_no_video(tmp_path: Path) -> None:
    Image.fromarray(media.picture(0)).save(tmp_path / "a.webp")
    with pytest.raises(NotAVideo):
        open_source(tmp_path / "a.webp")


def test_an_animation_keeps_to_the_limits(tmp_path: Path) -> None:
    animate(tmp_path / "a.webp", lossless=True)
    with pytest.raises(VideoTooLarge):
        open_source(tmp_path / "a.webp", limits=VideoLimits(max_pixels=100))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_cut_off_animation_is_refused_and_not_an_internal_error(
    tmp_path: Path, share: float
) -> None:
    animate(tmp_path / "a.webp", lossless=True)
    media.cut(tmp_path / "a.webp", share)
    with pytest.raises((NotAVideo, TruncatedVideo)), open_source(tmp_path / "a.webp") as source:
        list(source.frames())


def test_a_tape_has_its_rate_and_the_shape_of_its_pixels(tmp_path: Path) -> None:
    """DV, as it comes off MiniDV: PAL, interlaced, anamorphic."""
    with av.open(str(tmp_path / "a.dv"), "w") as container:
        stream = container.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        for number in range(5):
            rgb = media.picture(number, 720, 576)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    with open_source(tmp_path / "a.dv", sample_fps=0, deinterlace=Deinterlace.AUTO) as source:
        frames = list(source.frames())
        assert (source.info.fps, source.info.pixel_aspect) == (25, Fraction(16, 15))
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(5))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(5)])
