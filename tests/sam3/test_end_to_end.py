"""A job with words and visual prompts: from its specification to the masks table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import FrameNotFound, InvalidVisualPrompt, Stopped, UnsupportedByEngine
from shoal.model.prompts import FIRST_POINTED_ID, Exemplar, Removal, VisualPrompt
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Fake
from worker.engines.base import FrameResult
from worker.engines.cpu.predictor import CpuPredictor
from worker.engines.sam3.predictor import Sam3Predictor
from worker.engines.sam3.session import Sam3Session
from worker.video.frame import Frame


def shown(job: Job, max_frames: int = 0, **fields: Any) -> Job:
    """With an exemplar of a concept without words."""
    prompts = fields.pop("prompts", job.spec.prompts)
    exemplar = Exemplar(**{"prompt": "thing", "frame": 7, "box": (10, 10, 40, 40)} | fields)
    options = job.spec.options.model_copy(update={"max_frames": max_frames})
    update = {"prompts": prompts, "exemplars": (exemplar,), "options": options}
    job.spec = job.spec.model_copy(update=update)
    return job


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


@pytest.mark.parametrize(
    ("track_fps", "tracked"), [(None, {0, 5, 10, 15, 20}), (0, {0}), (12.5, set(range(0, 25, 2)))]
)
def test_more_frames_are_tracked_than_written(
    tmp_path: Path,
    plain: Path,
    monkeypatch: pytest.MonkeyPatch,
    track_fps: float | None,
    tracked: set[int],
) -> None:
    """A second of video, of which one frame is written: by default five are tracked."""
    media.write_video(tmp_path / "clip.mp4", frames=25)
    stepped: set[int] = set()
    step = Sam3Session.step

    def watched(session: Sam3Session, frames: Sequence[Frame]) -> list[FrameResult]:
        stepped.update(frame.index for frame in frames)
        return step(session, frames)

    monkeypatch.setattr(Sam3Session, "step", watched)
    job = Job(
        tmp_path / "clip.mp4",
        tmp_path,
        lambda: Sam3Predictor(str(plain)),
        ("a",),
        sample_fps=1,
        track_fps=track_fps,
    )
    job.attempt()
    assert stepped == tracked
    assert {row["frame"] for row in job.rows()} <= {0}


def test_rows_of_an_exemplar_without_words_carry_its_label(job: Job) -> None:
    """It applies to the whole video, and must lie within it, but not where tracking comes by."""
    shown(job, max_frames=1, frame=24)
    line = Line()
    done = job.attempt(line)
    assert line.beats, "reading up to its frame is no standstill"
    assert done.summary["objects_per_prompt"]["thing"] > 0
    assert {row["frame"] for row in job.rows() if row["prompt"] == "thing"} == {0}
    with pytest.raises(InvalidVisualPrompt, match="outside the video"):
        shown(job, box=(10, 10, 9999, 40)).attempt()
    with pytest.raises(FrameNotFound, match=r"exemplar on frame 25; the last one .* is 24"):
        shown(job, frame=25).attempt()


def test_an_engine_whose_sessions_read_no_exemplars_refuses_them(job: Job) -> None:
    job.load = Fake  # as of the operator: what it supports is not known before
    with pytest.raises(UnsupportedByEngine, match="'fake' does not support exemplars"):
        shown(job, prompts=("person",)).attempt()
