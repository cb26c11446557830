"""The time of each frame, from timestamps of every quality."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings as effort, strategies as st

from shoal.errors import UnsupportedFrameRate, VideoTooLarge
from worker.video.clock import Clock
from worker.video.probe import VideoLimits


def ticks(stamps: list[float | None], step_s: float = 0.1) -> list[float]:
    clock = Clock(step_s, VideoLimits())
    return [clock.tick(stamp) for stamp in stamps]


def test_a_stamp_that_grows_is_the_time() -> None:
    assert ticks([0.0, 0.5, 2.0]) == [0.0, 0.5, 2.0]


def test_a_missing_stamp_is_the_last_time_plus_the_usual_spacing() -> None:
    assert ticks([0.0, 0.5, None, None]) == [0.0, 0.5, 1.0, 1.5]


def test_a_repeated_stamp_moves_no_other() -> None:
    stamps = [n / 25 if n % 5 else max(0.0, (n - 1) / 25) for n in range(100)]
    assert ticks(list(stamps)) == pytest.approx([n / 25 for n in range(100)])


def test_a_hole_is_no_spacing() -> None:
    assert ticks([0.0, 0.1, 0.2, 0.3, 20.0, None, 20.2]) == pytest.approx(
        [0.0, 0.1, 0.2, 0.3, 20.0, 20.1, 20.2]
    )


def test_time_that_ran_ahead_of_the_stamps_waits_for_them() -> None:
    times = ticks([0.0, 0.1, 0.2, 0.2, 0.2, 0.2, *(n / 10 for n in range(3, 20))])
    assert times[-10:] == pytest.approx([n / 10 for n in range(10, 20)])


def test_the_announced_spacing_is_used_until_one_is_measured() -> None:
    assert ticks([None, None, None], step_s=0.25) == [0.0, 0.25, 0.5]


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.none() | st.floats(-1e4, 1e4), max_size=50))
def test_time_always_increases(stamps: list[float | None]) -> None:
    clock = Clock(0.1, VideoLimits(max_duration_s=float("inf"), max_fps=float("inf")))
    times = [clock.tick(stamp) for stamp in stamps]
    assert all(earlier < later for earlier, later in pairwise(times))


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.none() | st.floats(0, 100), min_size=2, max_size=50), st.data())
def test_a_clock_goes_on_from_its_state(stamps: list[float | None], data: st.DataObject) -> None:
    limits = VideoLimits(max_duration_s=float("inf"), max_fps=float("inf"))
    at = data.draw(st.integers(1, len(stamps) - 1))
    straight, begun, continued = Clock(0.1, limits), Clock(0.1, limits), Clock(0.1, limits)
    times = [straight.tick(stamp) for stamp in stamps]
    for stamp in stamps[:at]:
        begun.tick(stamp)
    continued.resume(begun.state())
    assert [continued.tick(stamp) for stamp in stamps[at:]] == times[at:]
    assert continued.state() == straight.state()


@pytest.mark.parametrize("frames", [2, 20])
def test_frames_without_times_are_refused(frames: int) -> None:
    clock = Clock(0.0, VideoLimits())
    for _ in range(frames):
        clock.tick(0.0)
    with pytest.raises(UnsupportedFrameRate, match=f"1 of its {frames} frames"):
        clock.finish()


def test_a_single_frame_is_a_video() -> None:
    clock = Clock(0.0, VideoLimits())
    clock.tick(3.0)
    clock.finish()


def test_a_burst_within_one_second_is_too_fast() -> None:
    clock = Clock(0.1, VideoLimits(max_fps=100))
    for number in range(100):
        clock.tick(number / 1000)
    with pytest.raises(UnsupportedFrameRate, match="101 frames/s, the limit is 100"):
        clock.tick(0.1)


def test_a_short_video_that_is_too_fast_is_refused_at_its_end() -> None:
    clock = Clock(0.1, VideoLimits(max_fps=100))
    for number in range(20):
        clock.tick(number / 1000)
    with pytest.raises(UnsupportedFrameRate, match="1000 frames/s"):
        clock.finish()


def test_the_duration_is_measured() -> None:
    clock = Clock(0.1, VideoLimits(max_duration_s=1))
    clock.tick(0.0)
    with pytest.raises(VideoTooLarge):
        clock.tick(1.5)
