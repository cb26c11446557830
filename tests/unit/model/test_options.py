"""Options: what is refused, and what is the same job."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shoal.model.job import Direction, JobSpec, Options
from shoal.model.prompts import clean_prompts


def job_id(**options: object) -> str:
    return JobSpec(
        uri="file:///match.mp4",
        version="1",
        size=1,
        prompts=("person",),
        options=Options.model_validate(options),
        results="file:///results/match",
    ).id


def test_ids_of_jobs_do_not_change_with_a_release() -> None:
    """Written down from before there were directions."""
    assert job_id() == "26449114661f90f83188b027"
    assert job_id(sample_fps=5, max_frames=10, allow_truncated=True) == "4f632e7b3389e4bd3737579d"


def id_of(*prompts: str) -> str:
    cleaned = clean_prompts(prompts)
    return JobSpec(uri="s3://b/a.mp4", version="1", size=1, prompts=cleaned, results="s3://r/a").id


def test_the_order_of_prompts_is_part_of_a_job() -> None:
    """It numbers categories and chooses colours: what is written is not the same."""
    assert id_of("red", "white") != id_of("white", "red")
    assert id_of("red", "white") == id_of(" red", "white", "red ")
    # From before it was: of one prompt, and of several in the order of their letters.
    assert id_of("red") == "03c2b13f233b1117e439c191"
    assert id_of("red", "white") == "0fb67cd2b0d4a6bcdb365ff7"


def test_forward_from_the_first_frame_is_what_there_is_without_options() -> None:
    assert job_id(direction="forward", start_frame=0) == job_id()
    assert job_id(start_frame=0) == job_id()
    assert Options(start_frame=0).start_frame is None


def test_each_direction_and_start_is_a_job_of_its_own() -> None:
    ids = [
        job_id(),
        job_id(start_frame=7),
        job_id(direction="backward"),
        job_id(direction="backward", start_frame=0),
        job_id(direction="backward", start_frame=7),
        job_id(direction="both", start_frame=7),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "options",
    [
        {"direction": "sideways"},
        {"direction": "both"},
        {"start_frame": -1},
        {"start_frame": 1.5},
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate(options)


def test_both_says_what_it_lacks() -> None:
    with pytest.raises(ValidationError, match="direction 'both' requires 'start_frame'") as caught:
        Options(direction=Direction.BOTH)
    assert caught.value.errors()[0]["loc"] == ("start_frame",)
