"""The cpu engine on a real clip: however often it is interrupted, the results are the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from shoal.errors import Stopped
from shoal.results.layout import overlay_name, result_name
from tests.attempts import Job, Line
from worker.engines import load
from worker.engines.base import Predictor

SECONDS = {"sample_fps": 5, "max_frames": 40}  # 8 s, tracked at 15 frames per second
PROMPTS = ("person", "bicycle")
# Whatever is not an mp4 or a Parquet table must have the very same bytes.
OUTPUTS = ["overlay", "youtube-vis", "coco", "mot", "csv", "png", "webm-alpha", "crops"]


pytestmark = pytest.mark.slow


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
    straight = new_job("straight", **options, outputs=OUTPUTS)
    job = new_job("interrupted", **options, outputs=OUTPUTS)
    straight.attempt()
    cuts = sorted(random.Random(4).sample(range(1, 37), 8))
    for cut in cuts:
        line = Line(stop_at=cut)
        with pytest.raises(Stopped):
            job.attempt(line)
        assert line.named("part"), cut
    job.attempt()
    assert len(straight.rows()) > 15
    assert job.rows() == straight.rows()
    assert job.overlay_times() == straight.overlay_times()
    assert len(job.overlay_times()) == 40
    assert job.metadata()["resumed"] == len(cuts)
    assert job.metadata()["objects_per_prompt"] == straight.metadata()["objects_per_prompt"]
    for kind in (*OUTPUTS, "frames", "summary", "crops-sheet"):
        ours, theirs = (each.results / result_name(each.spec, kind) for each in (job, straight))
        if ours.suffix == ".parquet":
            assert pq.read_table(ours).equals(pq.read_table(theirs))
        elif ours.suffix != ".mp4":
            assert ours.read_bytes() == theirs.read_bytes(), kind


def test_a_rendered_overlay_does_not_show_the_seams(new_job: Callable[..., Job]) -> None:
    """Trails would break off where a part ends, were they drawn part by part."""
    options = {"outputs": [{"kind": "overlay", "trails": True, "rate": "original"}]}
    straight, job = new_job("straight", **options), new_job("interrupted", **options)
    straight.attempt()
    for cut in (9, 17):
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=cut))
    job.attempt()
    ours, theirs = (each.results / overlay_name(each.spec) for each in (job, straight))
    assert ours.read_bytes() == theirs.read_bytes()
    assert len(job.overlay_times()) > 5 * 39  # 25 frames/s, of which 5 are tracked
