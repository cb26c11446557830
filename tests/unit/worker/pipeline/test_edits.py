"""Edited results: what becomes of each object of a frame, as compared with sets of pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from shoal.errors import ResultNotFound, Stopped
from shoal.model.edits import EditRequest, Edits, KnownObject, check_edits
from shoal.model.outputs import DERIVED
from shoal.results.layout import ResultSummary, masks_name, result_name, summary_name
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Counting
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.pipeline.edits import Editor

SIDE = 8
FRAMES = 50
Pixels = dict[int, tuple[str, frozenset[tuple[int, int]]]]  # by ID: label, and what is set


def shown(result: FrameResult) -> Pixels:
    assert len({each.object_id for each in result.objects}) == len(result.objects)
    return {
        each.object_id: (
            each.prompt,
            frozenset((y, x) for y, x in np.argwhere(each.mask.to_full(SIDE, SIDE)).tolist()),
        )
        for each in result.objects
    }


@st.composite
def results(draw: st.DrawFn) -> FrameResult:
    """A frame with some of the objects 1 to 5, of any masks, empty ones too."""
    bits = st.lists(st.booleans(), min_size=SIDE * SIDE, max_size=SIDE * SIDE)
    objects = []
    for object_id in draw(st.permutations(range(1, 6)))[: draw(st.integers(0, 5))]:
        full = np.array(draw(bits), np.uint8).reshape(SIDE, SIDE)
        full *= draw(st.booleans())
        label = "person" if object_id < 4 else "ball"
        mask = Mask.from_full(full)
        score = draw(st.floats(0, 1))
        objects.append(ObjectResult(object_id, label, score, (0, 0, 1, 1), mask, 0.5))
    return FrameResult(draw(st.integers(0, 20)), objects)


@st.composite
def edits(draw: st.DrawFn) -> Edits:
    """Any valid edits of objects 1 to 5 on frames 0 to 20; 6 and 7 come of splits."""
    cut = draw(st.lists(st.integers(1, 5), unique=True, max_size=2))
    split = [{"object_id": each, "frame": draw(st.integers(1, 20))} for each in cut]
    ids = draw(st.permutations(range(1, 6 + len(split))))
    removed = ids[: draw(st.integers(0, 2))]
    merged = ids[2 : 2 + draw(st.sampled_from([0, 2, 3]))]
    free = [each for each in ids if each not in removed and each not in merged[1:]]
    labels = st.sampled_from(["person", "dog"])
    relabel = draw(st.dictionaries(st.sampled_from(free), labels, max_size=3)) if free else {}
    asked = EditRequest.model_validate(
        {"split": split, "remove": removed, "merge": [merged] if merged else [], "relabel": relabel}
    )
    known = [KnownObject(n, "person" if n < 4 else "ball", 0, 20) for n in range(1, 6)]
    return check_edits(asked, known)


@pytest.mark.slow
@given(results(), edits())
def test_every_pixel_ends_up_where_the_edits_say(result: FrameResult, asked: Edits) -> None:
    expected: dict[int, tuple[str, frozenset[tuple[int, int]]]] = {}
    for object_id, (label, pixels) in shown(result).items():
        for split, new_id in zip(asked.split, asked.new_ids, strict=True):
            if split.object_id == object_id and result.index >= split.frame:
                object_id = new_id
                break
        if object_id in asked.remove:
            continue
        object_id = asked.kept_ids.get(object_id, object_id)
        before = expected.get(object_id, ("", frozenset()))[1]
        expected[object_id] = asked.relabel.get(object_id, label), before | pixels
    assert shown(Editor(asked).apply(result)) == expected


@given(results())
def test_without_edits_nothing_changes(result: FrameResult) -> None:
    assert shown(Editor(Edits()).apply(result)) == shown(result)


# --- whole jobs ----------------------------------------------------------------------------------

NewJob = Callable[..., Job]


@pytest.fixture
def new_job(tmp_path: Path) -> NewJob:
    clip = tmp_path / "clip.mp4"
    media.write_video(clip, FRAMES, 25)

    def new(**options: Any) -> Job:
        job = Job(clip, tmp_path, Counting, ("person",), **options)
        job.attempt()
        return job

    return new


def summary(job: Job) -> ResultSummary:
    path = job.results / summary_name(job.spec)
    return ResultSummary.model_validate_json(path.read_bytes())


def refined(base: Job, line: Line | None = None, **fields: Any) -> Job:
    """A finished version of a job; with a line, a first attempt is made on that."""
    known = [
        KnownObject(each.object_id, each.prompt, each.first_frame, each.last_frame)
        for each in summary(base).tracks
    ]
    labels = base.spec.edits.labels if base.spec.edits else ()
    asked = check_edits(EditRequest.model_validate(fields), known, labels)
    job = Job.__new__(Job)
    job.__dict__ |= base.__dict__
    job.spec = base.spec.model_copy(update={"base": base.spec.id, "edits": asked})
    job.load = no_model
    if line:
        with pytest.raises(Stopped):
            job.attempt(line)
    base.attempts = max(base.attempts, job.attempts)
    job.attempt()
    base.attempts = job.attempts
    return job


class Idle(Counting):
    """A worker's model that no edit may ask."""

    name = "idle"

    def open(self, *args: Any) -> Any:
        raise AssertionError("the model was asked")


no_model = Idle


@pytest.mark.parametrize(
    "options",
    [
        {"sample_fps": 0},
        {"sample_fps": 5, "max_frames": 7},
        {"sample_fps": 5, "start_frame": 13},
        {"sample_fps": 5, "direction": "backward", "start_frame": 33},
        {"sample_fps": 0, "direction": "both", "start_frame": 20},
    ],
    ids=str,
)
def test_rows_are_those_of_the_base_but_for_the_edits(
    new_job: NewJob, options: dict[str, Any]
) -> None:
    base = new_job(**options)
    rows = base.rows()
    ids = sorted({row["object_id"] for row in rows})
    gone, new = ids[1:], ids[0]
    job = refined(base, remove=gone, relabel={new: "dog"})
    expected = [row | {"prompt": "dog"} for row in rows if row["object_id"] == new]
    assert job.rows() == expected
    assert job.overlay_times() == base.overlay_times()
    metadata = job.metadata()
    assert metadata["base"] == base.spec.id
    assert metadata["edits"]["remove"] == gone
    assert metadata["engine"]["name"] == "fake"
    assert metadata["frames_processed"] == base.metadata()["frames_processed"]
    assert metadata["objects_per_prompt"]["dog"] == 1


def test_an_interrupted_edit_has_the_output_of_an_undisturbed_one(new_job: NewJob) -> None:
    base = new_job(outputs=["overlay", "crops", *DERIVED])
    straight = refined(base, merge=[[2, 3]])
    files = {path.name: path.read_bytes() for path in straight.results.iterdir()}
    for path in straight.results.iterdir():
        path.unlink()
    line = Line(stop_at=20)
    again = refined(base, line, merge=[[2, 3]])
    assert again.metadata()["resumed"] == 1
    assert again.rows(), "there is something to compare"
    for kind in ("csv", "mot", "coco", "summary"):
        name = result_name(again.spec, kind)
        assert (again.results / name).read_bytes() == files[name], name


def test_versions_of_versions(new_job: NewJob) -> None:
    base = new_job()
    rows = base.rows()
    ids = sorted({row["object_id"] for row in rows})
    first = refined(base, split=[{"object_id": 2, "frame": 15}], relabel={1: "dog"})
    second = refined(first, merge=[[2, ids[-1] + 1]])
    back = [row for row in second.rows() if row["object_id"] != 1]
    assert back == [row for row in rows if row["object_id"] != 1]
    assert second.metadata()["objects_per_prompt"] == {"person": len(ids) - 1, "dog": 1}


def test_results_that_are_gone_are_named(new_job: NewJob) -> None:
    base = new_job()
    known = [KnownObject(1, "person", 0, FRAMES)]
    edits = check_edits(EditRequest(remove=(1,)), known)
    (base.results / masks_name(base.spec)).unlink()
    base.spec = base.spec.model_copy(update={"base": base.spec.id, "edits": edits})
    with pytest.raises(ResultNotFound, match="are gone"):
        base.attempt()
