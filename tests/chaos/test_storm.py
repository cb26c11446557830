"""The short form of ``python -m tests.chaos.storm``: one round, with all kinds of faults."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.storm.plan import draw
from tests.chaos.storm.storm import NAMES, storm
from tests.chaos.storm.system import SITE

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1500)  # the storm itself takes a minute, the rest what the machine takes
def test_nothing_is_lost_doubled_or_wrong(sample_clip: Path, tmp_path: Path) -> None:
    (outcome,) = storm(tmp_path, sample_clip, "ci", seconds=0, round_s=30, videos=20, pace=2)
    assert not outcome.violations, "\n".join(map(str, outcome.violations))
    assert outcome.states["succeeded"] > 0
    assert outcome.faults.total() > 15


def test_a_seed_gives_the_same_storm_again() -> None:
    def plan(seed: str, number: int) -> object:
        return draw(seed, number, seconds=60, videos=20, processes=NAMES)

    assert plan("a", 0) == plan("a", 0)
    assert len({str(plan("a", 0)), str(plan("a", 1)), str(plan("b", 0))}) == 3


def test_the_clock_of_a_process_can_be_wrong(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("7200")
    env = os.environ | {"PYTHONPATH": str(SITE), "SHOAL_STORM_CLOCK": str(tmp_path / "clock")}
    code = "import time; print(time.time(), time.time_ns() / 1e9)"
    told = subprocess.check_output([sys.executable, "-c", code], env=env, text=True)
    assert all(7000 < float(each) - time.time() < 7200.1 for each in told.split())
