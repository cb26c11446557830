"""A corrected video goes on from a checkpoint of its base, with the rows of a full run."""

from __future__ import annotations

import copy
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import Stopped
from shoal.model.prompts import VisualPrompt
from shoal.results.parts import remove_parts, state_frame
from tests import media
from tests.attempts import Job, Line
from worker.engines.sam3.predictor import Sam3Predictor

FRAMES, WRITTEN = 60, 30  # every other one: those of prompts are tracked besides
CORRECTED = 53  # at 90 %
BEGIN = VisualPrompt(label="thing", frame=3, box=(10, 10, 40, 40))
CORRECTION = VisualPrompt(label="thing", frame=CORRECTED, points=((60, 40, 1), (20, 20, 0)))

count = itertools.count(1)  # of attempts: each has a work directory of its own
stepped: list[int] = []  # frames that the model was given in the latest attempt


class Counted(Sam3Predictor):
    """Notes the frames that its sessions are given."""

    def open(self, *args: Any) -> Any:
        session = super().open(*args)
        step = session.step

        def noted(frames: Any) -> Any:
            stepped.extend(frame.index for frame in frames)
            return step(frames)

        session.step = noted  # type: ignore[method-assign]
        return session


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, forgetful: Path) -> Job:
    """A finished job that has saved a checkpoint after nearly every frame."""
    folder = tmp_path_factory.mktemp("corrections")
    media.write_video(folder / "clip.mp4", FRAMES, 25)
    engine = Counted(str(forgetful))
    job = Job(folder / "clip.mp4", folder, lambda: engine, ("a",), 0.001, sample_fps=12.5)
    job.spec = job.spec.model_copy(update={"objects": (BEGIN,)})
    return attempt(job)


def attempt(job: Job, line: Line | None = None) -> Job:
    """States are left as after a success."""
    stepped.clear()
    job.attempts = next(count)
    keep = job.settings.keep_checkpoints_days > 0
    with pytest.MonkeyPatch.context() as patch:
        kept = partial(remove_parts, keep_states=keep)
        patch.setattr("tests.attempts.remove_parts", kept)
        job.attempt(line)
    return job


def changed(job: Job, settings: dict[str, Any] | None = None, **fields: Any) -> Job:
    other = copy.copy(job)
    other.settings = job.settings.model_copy(update=settings or {})
    other.spec = job.spec.model_copy(update=fields)
    return other


def corrected(base: Job, *corrections: VisualPrompt) -> Job:
    objects = (*base.spec.objects, *corrections)
    return changed(base, {"part_s": 3600}, base=base.spec.id, objects=objects)


def full_run(job: Job) -> list[dict[str, Any]]:
    """The rows of the same job as one of its own."""
    settings = {"keep_checkpoints_days": 0, "part_s": 3600}
    other = attempt(changed(job, settings, base=""))
    assert stepped[0] == 0
    return other.rows()


def test_rows_are_those_of_a_full_run_and_few_frames_are_tracked(base: Job) -> None:
    job = attempt(corrected(base, CORRECTION))
    tracked = list(stepped)
    assert CORRECTED in tracked
    assert len(tracked) <= 0.12 * FRAMES
    rows, before = job.rows(), base.rows()
    assert rows == full_run(job) != before
    early = tracked[0] - 2 * 15  # what hotstart may still take back is held back
    assert [r for r in rows if r["frame"] < early] == [r for r in before if r["frame"] < early]
    assert job.overlay_times() == base.overlay_times()
    metadata = job.metadata()
    assert (metadata["base"], metadata["resumed"]) == (base.spec.id, 0)
    assert metadata["frames_processed"] == WRITTEN


def test_an_earlier_correction_of_a_version_uses_the_checkpoints_of_its_base(base: Job) -> None:
    first = attempt(corrected(base, CORRECTION))
    earlier = VisualPrompt(label="thing", frame=44, points=((30, 30, 1),))
    second = attempt(corrected(first, earlier))
    assert 15 < stepped[0] <= 44
    assert second.rows() == full_run(second) != first.rows()


def test_a_new_object_is_a_correction_too(base: Job) -> None:
    job = attempt(corrected(base, VisualPrompt(label="other", frame=48, box=(40, 40, 70, 70))))
    assert stepped[0] > 15
    assert job.rows() == full_run(job)
    assert "other" in {row["prompt"] for row in job.rows()}


def test_without_a_checkpoint_before_it_a_correction_starts_over(base: Job) -> None:
    attempt(corrected(base, VisualPrompt(label="thing", frame=1, box=(12, 10, 40, 40))))
    assert stepped[0] == 0


def test_an_interrupted_correction_goes_on(base: Job) -> None:
    late = VisualPrompt(label="thing", frame=40, points=((31, 30, 1),))
    job = corrected(base, late)
    with pytest.raises(Stopped):
        attempt(job, Line(stop_at=10))
    attempt(job)
    assert stepped[0] > 40
    assert job.rows() == full_run(job)
    assert job.metadata()["resumed"] == 1
    assert len(job.overlay_times()) == WRITTEN


def test_states_alone_are_kept(base: Job) -> None:
    frames = [state_frame(name) for name in base.parts]
    assert frames
    assert None not in frames
