"""How the dashboard shows values, and how it draws the last hours."""

from __future__ import annotations

import pytest

from api.dashboard import render
from api.dashboard.chart import BARS_HEIGHT, HEIGHT, WIDTH, draw
from api.dashboard.options import fields, outputs
from api.routes.parts import finished_parts
from shoal.model.job import JobSpec, Options, State
from shoal.model.outputs import KINDS
from shoal.model.record import Record, TimelineEvent
from shoal.queue.stats import Sample

UNTIL = 1_760_000_400.0  # a whole minute


def sample(minutes_ago: float, **values: float) -> Sample:
    known = dict.fromkeys(Sample.model_fields, 0.0) | {"at": UNTIL - 60 * minutes_ago} | values
    return Sample.model_validate(known)


def record(state: State = State.RUNNING) -> Record:
    spec = JobSpec(uri="gs://b/a.mp4", version="1", size=1, prompts=("person",), results="gs://b/r")
    return Record(id="1", spec=spec, state=state, created_at=1, queued_at=1)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("gs://b/2026/a%20b.mp4", "a%20b.mp4"),  # a bucket's keys are not encoded
        ("file:///srv/match%20%231.mp4", "match #1.mp4"),
        ("s3://b/frames/", "frames"),
        ("file:///srv/no-suffix", "no-suffix"),
    ],
)
def test_a_video_is_called_by_its_file(uri: str, shown: str) -> None:
    assert render.title(record().spec.model_copy(update={"uri": uri})) == shown


def test_colours_and_query_strings() -> None:
    assert render.colour(0) == "#e6194b"
    assert render.query(state="", cause="a b", worker=None) == "cause=a+b"


# --- the chart -----------------------------------------------------------------------------------


def test_without_samples_nothing_is_drawn() -> None:
    assert draw([], 6, UNTIL).is_empty
    assert draw([sample(1)], 6, UNTIL).is_empty


def test_lines_have_gaps_where_nobody_looked() -> None:
    samples = [sample(m, queued=3, running=1) for m in (50, 49, 48, 20, 19, 0)]
    chart = draw(samples, 1, UNTIL)
    assert not chart.is_empty
    assert (len(chart.queued), len(chart.running)) == (3, 3)
    assert chart.peak == 4
    assert chart.queued[0] == "160.0,150.0 160.0,0.0 176.0,0.0 192.0,0.0 192.0,150.0"
    assert chart.running[0].split()[1] == f"160.0,{HEIGHT * 3 / 4}"
    assert chart.queued[-1].startswith(f"{WIDTH}.0,")


def test_bars_count_what_ended_between_samples() -> None:
    samples = [
        sample(61, succeeded=10, failed=1),
        sample(59.5, succeeded=12, failed=1),
        sample(59, succeeded=12, failed=3),
        sample(1, succeeded=1, failed=0),  # Redis was emptied in between
        sample(0.5, succeeded=3, failed=0),
    ]
    chart = draw(samples, 1, UNTIL)
    bars = [(bar.succeeded, bar.failed) for bar in chart.bars]
    assert bars[0] == (2, 2)
    assert bars[-1] == (2, 0)
    assert sum(good + bad for good, bad in bars) == 6
    assert chart.most_ended == 4
    assert chart.bars[0].good_height + chart.bars[0].bad_height == BARS_HEIGHT


@pytest.mark.parametrize(("most", "peak"), [(0, 4), (4, 4), (5, 6), (41, 60), (100_000, 100_000)])
def test_the_scale_ends_at_a_round_number(most: int, peak: int) -> None:
    assert draw([sample(1, queued=most), sample(0)], 1, UNTIL).peak == peak


@pytest.mark.parametrize("hours", [1, 6, 24])
def test_marks_lie_within(hours: int) -> None:
    marks = draw([], hours, UNTIL).marks
    assert len(marks) >= 5
    assert all(0 < x < 100 for x, _ in marks)


# --- the form and the parts ----------------------------------------------------------------------


def test_every_option_has_a_field() -> None:
    made = {field.name: field for field in fields()}
    assert set(made) == set(Options.model_fields) - {"engine", "outputs"}
    assert all(field.help for field in made.values())
    assert made["allow_truncated"].kind == "checkbox"
    assert made["deinterlace"].choices == ("auto", "on", "off")
    assert (made["max_frames"].kind, made["max_frames"].step) == ("number", "1")
    assert (made["sample_fps"].default, made["sample_fps"].maximum) == ("", 1000)


def test_every_output_has_a_box() -> None:
    boxes = {field.name: field for field in outputs()}
    assert set(boxes) == set(KINDS) - {"masks"}
    assert [name for name, field in boxes.items() if field.default] == ["overlay"]
    assert all(field.help for field in boxes.values())


def story(*events: tuple[str, dict[str, int]]) -> list[tuple[int, int]]:
    timeline = [TimelineEvent(at=1, event=event, detail=detail) for event, detail in events]
    return [(part.number, part.attempt) for part in finished_parts(record(), timeline)]


def started(attempt: int) -> tuple[str, dict[str, int]]:
    return "started", {"attempt": attempt}


def part(number: int) -> tuple[str, dict[str, int]]:
    return "part", {"number": number, "frames": 10 * number}


def test_parts_of_several_attempts_follow_each_other() -> None:
    resumed = ("resumed", {"part": 2})
    assert story(started(1), part(1), part(2)) == [(1, 1), (2, 1)]
    again = (started(1), part(1), part(2), part(3), started(2), resumed)
    assert story(*again) == [(1, 1), (2, 1)]
    assert story(*again, part(3)) == [(1, 1), (2, 1), (3, 2)]
    assert story(started(1), part(1), part(2), started(2), part(1)) == [(1, 2)]  # it started over


def test_there_are_no_parts_once_they_are_removed() -> None:
    timeline = [TimelineEvent(at=1, event="part", detail={"number": 1, "frames": 9})]
    assert finished_parts(record(State.FAILED), timeline)
    assert not finished_parts(record(State.SUCCEEDED), timeline)
    assert not finished_parts(record(State.CANCELLED), timeline)
