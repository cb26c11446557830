"""A job with words and visual prompts: from its specification to the masks table."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.errors import FrameNotFound, InvalidVisualPrompt, Stopped, UnsupportedByEngine
from shoal.prompts import FIRST_POINTED_ID, Removal, VisualPrompt
from tests import media
from tests.attempts import Job, Line
from worker.predictors.cpu.predictor import CpuPredictor
from worker.predictors.sam3.predictor import Sam3Predictor


@pytest.fixture
def job(tmp_path: Path, plain: Path) -> Job:
    """25 frames, of which every fifth is written."""
    media.write_video(tmp_path / "clip.mp4", frames=25)
    return Job(
        tmp_path / "clip.mp4", tmp_path, lambda: Sam3Predictor(str(plain)), ("a",), sample_fps=5
    )


def pointed_at(job: Job, *objects: VisualPrompt, **fields: object) -> Job:
    job.spec = job.spec.model_copy(update={"objects": objects, **fields})
    return job


def test_rows_of_objects_that_were_pointed_at_carry_their_label(job: Job) -> None:
    begin = VisualPrompt(label="thing", frame=3, box=(10, 10, 40, 40))
    correction = VisualPrompt(label="thing", frame=11, points=((20, 20, 1),))
    removal = Removal(object_id=FIRST_POINTED_ID, frame=20)
    done = pointed_at(job, begin, correction, remove_objects=(removal,)).attempt()
    rows = job.rows()
    assert {row["frame"] for row in rows} == {0, 5, 10, 15, 20}
    pointed = [row for row in rows if row["object_id"] == FIRST_POINTED_ID]
    assert [row["frame"] for row in pointed] == [5, 10, 15]
    assert {row["prompt"] for row in pointed} == {"thing"}
    assert {row["prompt"] for row in rows} == {"a", "thing"}
    assert done.summary["objects_per_prompt"] == {"a": 1, "thing": 1}


def test_a_label_that_is_a_prompt_counts_with_it(job: Job) -> None:
    point = VisualPrompt(label="a", frame=0, points=((20, 20, 1),))
    assert pointed_at(job, point).attempt().summary["objects_per_prompt"] == {"a": 1}
    assert {row["object_id"] for row in job.rows()} == {FIRST_POINTED_ID}


def test_what_does_not_fit_the_video_fails_with_its_name(job: Job) -> None:
    with pytest.raises(InvalidVisualPrompt, match="outside the video"):
        pointed_at(job, VisualPrompt(label="a", frame=0, points=((9999, 2, 1),))).attempt()
    with pytest.raises(FrameNotFound, match="frame 25"):
        pointed_at(job, VisualPrompt(label="a", frame=25, points=((2, 2, 1),))).attempt()


def test_a_worker_with_another_engine_refuses_the_job(job: Job) -> None:
    job.load = CpuPredictor
    with pytest.raises(UnsupportedByEngine, match="cpu"):
        pointed_at(job, VisualPrompt(label="person", frame=0, points=((2, 2, 1),))).attempt()


def test_an_interrupted_job_goes_on_between_correction_and_removal(
    tmp_path: Path, plain: Path
) -> None:
    media.write_video(tmp_path / "clip.mp4", frames=40)
    objects = [VisualPrompt(label="thing", frame=n, box=(9, 9, 40 + n, 40)) for n in (3, 7, 33)]
    removal = Removal(object_id=FIRST_POINTED_ID, frame=36)
    predictor = Sam3Predictor(str(plain))
    rows = []
    for name, stops in (("straight", []), ("interrupted", [10])):
        (tmp_path / name).mkdir()
        job = Job(tmp_path / "clip.mp4", tmp_path / name, lambda: predictor, ("a",))
        pointed_at(job, *objects, remove_objects=(removal,))
        for frames in stops:
            with pytest.raises(Stopped):
                job.attempt(Line(stop_at=frames))
        line = Line()
        job.attempt(line)
        assert len(line.named("resumed")) == len(stops)
        rows.append(job.rows())
    assert rows[0] == rows[1]
    pointed = [row["frame"] for row in rows[0] if row["object_id"] == FIRST_POINTED_ID]
    assert pointed == list(range(3, 36))
