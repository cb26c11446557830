"""The cpu engine on a real clip: however often it is interrupted, the results are the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import Stopped
from tests.attempts import Job, Line
from worker.predictors import load
from worker.predictors.base import Predictor

SECONDS = {"sample_fps": 5, "max_frames": 40}  # 8 s, tracked at 15 frames per second
PROMPTS = ("person", "bicycle")


@pytest.fixture(scope="module")
def engine() -> Predictor:
    return load("cpu")


@pytest.fixture
def new_job(sample_clip: Path, tmp_path: Path, engine: Predictor) -> Callable[..., Job]:
    def new(name: str, **options: Any) -> Job:
        (tmp_path / name).mkdir()
        return Job(sample_clip, tmp_path / name, lambda: engine, PROMPTS, **SECONDS | options)

    return new


@pytest.mark.parametrize(
    "options",
    [{}, {"direction": "backward"}, {"direction": "both", "start_frame": 100}],
    ids=["forward", "backward", "both"],
)
def test_an_interrupted_run_equals_a_straight_one(
    new_job: Callable[..., Job], options: dict[str, Any]
) -> None:
    """Every cut is made with results owed: the engine confirms objects some frames later."""
    straight, job = new_job("straight", **options), new_job("interrupted", **options)
    straight.attempt()
    cuts = sorted(random.Random(4).sample(range(1, 37), 8))
    for cut in cuts:
        line = Line(stop_at=cut)
        with pytest.raises(Stopped):
            job.attempt(line)
        assert line.named("part"), cut
    job.attempt()
    assert len(straight.rows()) > 20
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()
    assert len(job.overlay_times()) == 40
    assert job.metadata()["resumed"] == len(cuts)
    assert job.metadata()["objects_per_prompt"] == straight.metadata()["objects_per_prompt"]
