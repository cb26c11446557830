"""The pace that the time remaining is estimated from."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from worker.pipeline.pace import LEAST_S, Pace


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_a_slow_start_does_not_count_for_long() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.at(0) == 0
    clock.s += 60  # the model warms up
    pace.at(1)
    for second in range(1, 41):
        clock.s += 1
        fps = pace.at(1 + 10 * second)
    assert fps == pytest.approx(10)


def test_there_is_none_at_first_nor_from_what_an_earlier_attempt_wrote() -> None:
    clock = Clock()
    pace = Pace(clock)
    seen = []
    for tenth in range(60):
        seen.append(pace.at(5000 + 3 * tenth))
        clock.s += 0.1
    assert set(seen[:50]) == {0}
    assert seen[-1] == pytest.approx(30)


@given(
    st.lists(st.tuples(st.floats(0.01, 20), st.integers(0, 100)), min_size=1),
    st.integers(0, 10**6),
)
def test_it_is_the_mean_of_the_window(steps: list[tuple[float, int]], frames: int) -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.at(frames)
    rates = []
    for seconds, more in steps:
        clock.s += seconds
        frames += more
        rates.append(more / seconds)
        found = pace.at(frames)
    assert 0 <= found <= max(rates) * (1 + 1e-6)
    if sum(seconds for seconds, _ in steps) < LEAST_S:
        assert found == 0
