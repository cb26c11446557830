"""A day of 2000 videos, as in docs/scaling.md: what our controller is for."""

from __future__ import annotations

import pytest
from conftest import FILES

from autoscaler.deployment import read_yaml
from benchmarks.day.compare import POOL, Row, compare
from benchmarks.day.load import LONGEST_S, SHORTEST_S, day

pytestmark = pytest.mark.timeout(1200)  # some 20 s on a machine that has nothing else to do


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return dict(compare(videos=2000, seed=1))


@pytest.mark.parametrize("other", ["sky", "sky-quick", "fixed", "fixed-mean"])
def test_fewer_gpu_hours_at_no_longer_median_wait(rows: dict[str, Row], other: str) -> None:
    assert rows["ours"].gpu_hours < rows[other].gpu_hours
    assert rows["ours"].wait_median <= rows[other].wait_median


def test_machines_are_lost_in_every_case(rows: dict[str, Row]) -> None:
    assert all(row.machines_lost > 20 for row in rows.values())


def test_the_day_is_what_it_is_said_to_be() -> None:
    videos = day(2000, 1)
    assert len(videos) == 2000
    assert all(SHORTEST_S <= video.work_s <= LONGEST_S for video in videos)
    assert day(2000, 1) == videos
    assert day(2000, 2) != videos


def test_the_pool_is_that_of_the_files() -> None:
    assert read_yaml(FILES / "pool.yaml")["pool"] | {"max_workers": POOL["max_workers"]} == POOL
