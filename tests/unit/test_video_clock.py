"""The time of each frame, from timestamps of every quality."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from shoal.errors import UnsupportedFrameRate, VideoTooLarge
from worker.video.clock import Clock
from worker.video.probe import Limits


def ticks(stamps: list[float | None], step_s: float = 0.1) -> list[float]:
    clock = Clock(step_s, Limits())
    return [clock.tick(stamp) for stamp in stamps]


def test_time_starts_at_the_first_frame() -> None:
    assert ticks([5.0, 5.5, 7.0]) == [0.0, 0.5, 2.0]


def test_a_missing_timestamp_is_the_last_one_plus_the_last_spacing() -> None:
    assert ticks([0.0, 0.5, None, None]) == [0.0, 0.5, 1.0, 1.5]


def test_after_a_jump_back_the_spacing_goes_on() -> None:
    assert ticks([0.0, 0.5, 1.0, 0.0, 0.5]) == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_the_announced_spacing_is_used_until_one_is_measured() -> None:
    assert ticks([None, None, None], step_s=0.25) == [0.0, 0.25, 0.5]


@given(st.lists(st.none() | st.floats(-1e4, 1e4), max_size=50))
def test_time_always_increases(stamps: list[float | None]) -> None:
    clock = Clock(0.1, Limits(max_duration_s=float("inf"), max_fps=float("inf")))
    times = [clock.tick(stamp) for stamp in stamps]
    assert all(earlier < later for earlier, later in pairwise(times))


@pytest.mark.parametrize("frames", [2, 20])
def test_frames_without_times_are_refused(frames: int) -> None:
    clock = Clock(0.0, Limits())
    for _ in range(frames):
        clock.tick(0.0)
    with pytest.raises(UnsupportedFrameRate, match=f"1 of its {frames} frames"):
        clock.finish()


def test_a_single_frame_is_a_video() -> None:
    clock = Clock(0.0, Limits())
    clock.tick(3.0)
    clock.finish()


def test_a_burst_within_one_second_is_too_fast() -> None:
    clock = Clock(0.1, Limits(max_fps=100))
    for number in range(100):
        clock.tick(10 + number / 1000)
    with pytest.raises(UnsupportedFrameRate, match="101 frames/s, the limit is 100"):
        clock.tick(10.1)


def test_a_short_video_that_is_too_fast_is_refused_at_its_end() -> None:
    clock = Clock(0.1, Limits(max_fps=100))
    for number in range(20):
        clock.tick(number / 1000)
    with pytest.raises(UnsupportedFrameRate, match="1000 frames/s"):
        clock.finish()


def test_the_duration_is_measured() -> None:
    clock = Clock(0.1, Limits(max_duration_s=1))
    clock.tick(0.0)
    with pytest.raises(VideoTooLarge):
        clock.tick(1.5)
