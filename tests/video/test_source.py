"""Video files as streams of the frames that are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.errors import (
    SourceNotFound,
    TruncatedVideo,
    UnsupportedFrameRate,
    VideoError,
    VideoTooLarge,
)
from tests import media
from worker.video.frame import Frame
from worker.video.probe import VideoLimits
from worker.video.sampling import Sampler
from worker.video.source import open_source


def read(path: Path, tracking_fps: float = 0.0, sample_fps: float = 0.0) -> list[Frame]:
    with open_source(path, sample_fps=sample_fps) as source:
        return list(source.frames(tracking_fps))


def numbers(frames: list[Frame]) -> list[int]:
    return [media.picture_number(frame.picture) for frame in frames]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plain.{suffix}"
    media.write_video(path, frames=60, codec="mpeg4" if suffix == "avi" else "libx264")
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    assert numbers(frames) == [frame.index for frame in frames] == list(range(60))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [n / 25 for n in range(60)], abs=2e-3
    )
    assert all(frame.picture.format.name == "yuv420p" for frame in frames)
    assert (source.frames_read, source.extent.decode_errors, source.extent.missing_s) == (60, 0, 0)
    assert source.last_time_s == pytest.approx(59 / 25, abs=2e-3)
    assert not source.extent.truncated


def test_what_is_known_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plain.mp4"
    media.write_video(path, frames=50, fps=25)
    with open_source(path) as source:
        info = source.info
    assert (info.width, info.height, info.frames, info.codec) == (160, 120, 50, "h264")
    assert (info.fps, info.rotation) == (25, 0)
    assert info.duration_s == pytest.approx(2.0)


# --- which frames ----------------------------------------------------------------------------


def test_one_frame_per_second(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=100, fps=25)
    assert numbers(read(tmp_path / "a.mp4", sample_fps=1)) == [0, 25, 50, 75]


def test_a_rate_above_the_source_takes_every_frame_once(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=30, fps=10)
    assert numbers(read(tmp_path / "a.mp4", sample_fps=100)) == list(range(30))


def test_frames_of_a_variable_rate_are_chosen_by_time(tmp_path: Path) -> None:
    # Dense in the first second, of which the last frame is the nearest to 1 s; none near 3 s.
    times = [n / 30 for n in range(30)] + [2.0, 4.1, 4.6, 5.0]
    media.write_variable(tmp_path / "vfr.mp4", times)
    frames = read(tmp_path / "vfr.mp4", sample_fps=1)
    assert numbers(frames) == [0, 29, 30, 31, 33]
    assert [frame.time_s for frame in frames] == pytest.approx(
        [0, 29 / 30, 2.0, 4.1, 5.0], abs=1e-3
    )


@pytest.mark.parametrize("jitter_s", [-0.0005, 0.0, 0.0005])
def test_times_rounded_to_milliseconds_lose_no_frame(jitter_s: float) -> None:
    sampler = Sampler(10)
    times = [max(0.0, n / 30 + jitter_s * (n > 0)) for n in range(91)]
    taken = [n for n in range(90) if sampler.take((times[n] + times[n + 1]) / 2)]
    assert taken == list(range(0, 90, 3))


def test_frames_between_are_tracked_but_not_wanted(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=50, fps=25)
    frames = read(tmp_path / "a.mp4", tracking_fps=5, sample_fps=1)
    assert [frame.index for frame in frames] == list(range(0, 50, 5))
    assert [frame.index for frame in frames if frame.wanted] == [0, 25]


def test_reading_ends_after_the_last_wanted_frame(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=100, fps=25)
    with open_source(tmp_path / "a.mp4", sample_fps=1, max_frames=2) as source:
        frames = list(source.frames(tracking_fps=25))
    assert [frame.index for frame in frames] == list(range(26))
    assert source.frames_read == 26


# --- turned and odd pictures -------------------------------------------------------------------


def quarters(frame: Frame) -> list[str]:
    """The strongest channel in the middle of the top, right, bottom and left edge."""
    bgr = frame.picture.to_ndarray(format="bgr24")
    h, w = bgr.shape[:2]
    points = [(h // 8, w // 2), (h // 2, w - w // 8), (h - h // 8, w // 2), (h // 2, w // 8)]
    return ["bgr"[int(np.argmax(bgr[y, x]))] for y, x in points]


@pytest.mark.parametrize(
    ("degrees", "blue_edge"), [(0, "bottom"), (90, "right"), (180, "top"), (270, "left")]
)
def test_a_rotated_video_comes_upright(tmp_path: Path, degrees: int, blue_edge: str) -> None:
    path = tmp_path / "rotated.mp4"
    media.write_rotated(path, media.MATRICES[degrees])
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    size = (120, 160) if degrees % 180 else (160, 120)
    assert (source.info.width, source.info.height, source.info.rotation) == (*size, degrees)
    assert (frames[0].picture.width, frames[0].picture.height) == size
    edges = dict(zip(("top", "right", "bottom", "left"), quarters(frames[0]), strict=True))
    assert [edge for edge, channel in edges.items() if channel == "b"] == [blue_edge]


def test_a_mirrored_video_comes_upright(tmp_path: Path) -> None:
    media.write_rotated(tmp_path / "mirrored.mp4", media.MIRRORED)
    frames = read(tmp_path / "mirrored.mp4")
    assert quarters(frames[0])[3] == "r"  # the red half is on the left now


@pytest.mark.parametrize("size", [(161, 121), (161, 120), (160, 121)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "odd.mkv"
    media.write_video(path, frames=5, size=size, codec="ffv1", pixel_format="yuv444p")
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    assert (source.info.width, source.info.height) == size
    assert (frames[0].picture.width, frames[0].picture.height) == size
    assert numbers(frames) == list(range(5))


# --- bad videos --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", media.BAD_VIDEOS)
def test_a_bad_video_is_refused(tmp_path: Path, name: str) -> None:
    write, code = media.BAD_VIDEOS[name]
    write(tmp_path / name)
    with pytest.raises(VideoError) as caught:
        read(tmp_path / name)
    assert caught.value.code == code
    assert caught.value.hint


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        open_source(tmp_path / "none.mp4")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceNotFound):  # its folder has become a file meanwhile
        open_source(tmp_path / "a.mp4" / "none.mp4")


@pytest.mark.parametrize("name", ["concat:a.mp4", "http:x.mp4", "%03d.mp4"])
def test_a_name_is_never_taken_for_a_protocol_or_pattern(tmp_path: Path, name: str) -> None:
    media.write_video(tmp_path / "a.mp4", frames=3)
    (tmp_path / "a.mp4").rename(tmp_path / name)
    assert len(read(tmp_path / name)) == 3


def test_a_cut_mp4_is_refused_before_its_first_frame(tmp_path: Path) -> None:
    media.write_truncated_mp4(tmp_path / "cut.mp4")
    with pytest.raises(TruncatedVideo, match=r"announces 8\.0 s"):
        open_source(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    ("write", "suffix"), [(media.write_truncated_mp4, "mp4"), (media.write_truncated_mkv, "mkv")]
)
def test_a_truncated_video_is_read_as_far_as_it_goes_if_allowed(
    tmp_path: Path, write: media.Writer, suffix: str
) -> None:
    path = tmp_path / f"cut.{suffix}"
    write(path)
    with open_source(path, sample_fps=0, allow_truncated=True) as source:
        frames = list(source.frames())
    assert 50 < len(frames) < 150
    assert numbers(frames) == list(range(len(frames)))
    assert source.extent.truncated
    assert source.extent.missing_s == pytest.approx((200 - len(frames)) / 25, abs=0.2)


def test_a_loss_within_the_tolerance_is_counted_and_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    media.write_truncated_mp4(path, share=0.97)
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    assert 175 <= len(frames) < 200
    assert not source.extent.truncated
    assert source.extent.missing_s == pytest.approx((200 - len(frames)) / 25, abs=0.1)


def test_packets_that_cannot_be_decoded_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp4"
    media.write_video(path, frames=100)
    media.damage(path, [60, 61])
    with open_source(path, sample_fps=0) as source:
        frames = list(source.frames())
    assert source.extent.decode_errors == 2
    assert 80 < len(frames) <= 98
    assert source.extent.missing_s == pytest.approx(2 / 25, abs=0.01)


def test_pixels_are_limited(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=3)
    with pytest.raises(VideoTooLarge, match="160×120"):
        open_source(tmp_path / "a.mp4", limits=VideoLimits(max_pixels=160 * 120 - 1))
    open_source(tmp_path / "a.mp4", limits=VideoLimits(max_pixels=160 * 120)).close()


def test_the_duration_is_limited(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=50)
    with pytest.raises(VideoTooLarge, match="2 s long"):
        open_source(tmp_path / "a.mp4", limits=VideoLimits(max_duration_s=1.5))


def test_the_rate_is_limited(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=50)
    with (
        open_source(tmp_path / "a.mp4", limits=VideoLimits(max_fps=20)) as source,
        pytest.raises(UnsupportedFrameRate),
    ):
        list(source.frames())
