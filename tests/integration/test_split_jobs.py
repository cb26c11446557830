"""Split jobs in queue and API: one job for its users, many work items for the workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.errors import LeaseLost, NotAVideo, StateConflict, StorageUnavailable
from shoal.ingest.cancel import has_leftovers, remove_leftovers
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import JobSpec, Options, Role, State
from shoal.model.record import Phase, Progress, Record
from shoal.queue.batches import Batches
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from shoal.queue.split import Splits, segment_specs
from shoal.settings import Settings
from tests.serving import take

PLAN = "plan-a1.json"
PERMANENT = Failure.of(NotAVideo("not a video"))
TRANSIENT = Failure.of(StorageUnavailable("no answer"))


def cancel(queue: JobQueue, job_id: str, settings: Settings) -> Record:
    """As the API does."""
    record = Splits(queue).cancel(job_id)
    if has_leftovers(record):
        remove_leftovers(record, queue, settings)
    return record


def spec(name: str = "a.mp4", **options: Any) -> JobSpec:
    return JobSpec(
        uri=f"file:///videos/{name}",
        version="1",
        size=1,
        prompts=("person",),
        options=Options(**{"split": 3} | options),
        results="file:///out/a",
    )


@pytest.fixture
def job(queue: JobQueue) -> Record:
    """A job of three segments that waits for their tracking."""
    record, _ = queue.submit(spec(), batch="b" * 24)
    take(queue).hand_over(Phase.TRACK, PLAN, 3)
    return queue.records.get(record.id)


def finish(queue: JobQueue, lease: Lease) -> None:
    """As a worker does it."""
    lease.succeed({}, {})
    assert lease.record.spec.segment
    Splits(queue).advance(lease.record.spec.segment.job)


def fail(queue: JobQueue, lease: Lease, failure: Failure = PERMANENT) -> None:
    lease.fail(failure)
    assert lease.record.spec.segment
    Splits(queue).advance(lease.record.spec.segment.job)


def states(queue: JobQueue, job: Record) -> list[State]:
    return [each.state for each in Splits(queue).status(queue.records.get(job.id))]


def test_a_job_takes_turns_with_its_segments(queue: JobQueue, job: Record) -> None:
    assert (job.state, job.phase, job.worker, job.segment_count) == ("running", "track", "", 3)
    other, _ = queue.submit(spec("other.mp4", split="off"))
    leases = [take(queue) for _ in range(3)]
    assert [each.record.spec.segment.number for each in leases if each.record.spec.segment] == [
        1,
        2,
        3,
    ]
    for lease in reversed(leases[1:]):
        finish(queue, lease)
        assert queue.records.get(job.id).state == State.RUNNING
    finish(queue, leases[0])
    assert (queue.records.get(job.id).state, queue.records.get(job.id).phase) == ("queued", "join")
    joining = take(queue)  # first in line
    assert (joining.record.id, joining.record.attempt) == (job.id, 2)
    joining.hand_over(Phase.RENDER, PLAN, 3)
    for _ in range(3):
        lease = take(queue)
        assert lease.record.spec.segment
        assert lease.record.spec.segment.role == Role.RENDER
        finish(queue, lease)
    final = take(queue)
    assert (final.record.id, final.record.phase) == (job.id, "final")
    final.succeed({"a_metadata.json": 3}, {"frames_processed": 7})
    assert queue.records.get(job.id).state == State.SUCCEEDED
    assert take(queue).record.id == other.id
    assert states(queue, job) == [State.SUCCEEDED] * 6
    assert [each.outcome for each in queue.records.attempts(job.id)] == [
        "split",
        "split",
        "succeeded",
    ]


def test_lists_and_counts_show_jobs_and_count_segments_apart(queue: JobQueue, job: Record) -> None:
    take(queue)
    assert [each.id for each in queue.records.page()[0]] == [job.id]
    assert [each.id for each in queue.records.page(Filter(prompt="person"))[0]] == [job.id]
    depth = queue.depth()
    assert (depth.queued, depth.running, depth.split) == (0, 1, 1)
    assert depth.segments == dict.fromkeys(State, 0) | {State.QUEUED: 2, State.RUNNING: 1}
    assert depth.work == (2, 1)


def test_progress_and_cost_are_those_of_all_segments(queue: JobQueue, job: Record) -> None:
    first, second, third = (
        Lease.take(queue, each.id, "w", "h", 36.0) for each in segment_specs(job, Role.TRACK)
    )
    assert first
    assert second
    assert third
    first.heartbeat(Progress(stage="process", frames=10, frames_expected=50, fps=2))
    second.heartbeat(Progress(stage="process", frames=20, frames_expected=30, fps=1))
    Splits(queue).advance(job.id)
    progress = queue.records.get(job.id).progress
    assert (progress.stage, progress.frames, progress.frames_expected) == ("track", 30, 120)
    assert progress.fps == 3
    for lease in (first, second, third):
        queue.redis.hset(queue.records.key(lease.record.id), "started_at", 1.0)
        finish(queue, lease)
    record = queue.records.get(job.id)
    segments = [queue.records.get(each.record.id) for each in (first, second, third)]
    assert record.spent.cost == pytest.approx(sum(each.spent.cost for each in segments))
    assert record.segments_spent.cost == pytest.approx(record.spent.cost)
    totals = queue.records.totals.read()
    assert totals["segments:succeeded"] == 3
    assert "jobs:succeeded" not in totals
    assert "attempts:succeeded" not in totals
    in_batch = Batches(queue)._totals("b" * 24).read()
    assert in_batch["cost:succeeded"] == pytest.approx(record.spent.cost)


def test_a_failed_segment_fails_the_job_and_a_retry_does_only_that_again(
    queue: JobQueue, job: Record
) -> None:
    first, second = take(queue), take(queue)
    finish(queue, first)
    fail(queue, second)
    record = queue.records.get(job.id)
    assert record.state == State.FAILED
    assert record.error
    assert record.error.message == "segment 2: not a video"
    assert states(queue, job) == [State.SUCCEEDED, State.FAILED, State.CANCELLED]
    queue.retry(job.id)
    again = take(queue)
    assert (again.record.id, again.record.phase) == (job.id, Phase.TRACK)
    again.hand_over(again.record.phase, again.record.plan, again.record.segment_count)
    assert states(queue, job) == [State.SUCCEEDED, State.QUEUED, State.QUEUED]
    for number in (2, 3):
        lease = take(queue)
        assert lease.record.spec.segment
        assert lease.record.spec.segment.number == number
        finish(queue, lease)
    assert queue.records.get(job.id).phase == Phase.JOIN


def test_what_runs_when_another_segment_fails_is_not_lost(queue: JobQueue, job: Record) -> None:
    first, second = take(queue), take(queue)
    fail(queue, second)
    assert not first.heartbeat(Progress(frames=1))  # nobody asks it to stop
    finish(queue, first)
    assert queue.records.get(job.id).state == State.FAILED
    assert states(queue, job) == [State.SUCCEEDED, State.FAILED, State.CANCELLED]


def test_a_transient_failure_of_a_segment_is_its_own(queue: JobQueue, job: Record) -> None:
    fail(queue, take(queue), TRANSIENT)
    assert queue.records.get(job.id).state == State.RUNNING
    assert states(queue, job) == [State.QUEUED] * 3


def test_cancelling_reaches_all_segments(queue: JobQueue, job: Record, settings: Settings) -> None:
    running = take(queue)
    record = cancel(queue, job.id, settings)
    assert (record.state, record.cancel_requested) == (State.RUNNING, True)
    assert states(queue, job) == [State.RUNNING, State.CANCELLED, State.CANCELLED]
    assert running.heartbeat(Progress())
    running.cancel()
    Splits(queue).advance(job.id)
    assert queue.records.get(job.id).state == State.CANCELLED
    again = queue.retry(job.id)
    assert (again.phase, again.segment_count) == (Phase.WHOLE, 0)  # its parts are gone


def test_cancelling_a_job_that_is_retried_stops_what_still_runs(
    queue: JobQueue, job: Record, settings: Settings
) -> None:
    running, failing = take(queue), take(queue)
    fail(queue, failing)
    queue.retry(job.id)
    assert cancel(queue, job.id, settings).state == State.CANCELLED
    assert running.heartbeat(Progress())


def test_the_reaper_brings_back_a_segment_and_a_job_that_nobody_told(
    queue: JobQueue, job: Record
) -> None:
    first, second, third = take(queue), take(queue), take(queue)
    for lease in (first, second):
        lease.succeed({}, {})
    queue.redis.zadd(queue.leases_key, {third.record.id: 1.0})
    assert Reaper(queue).sweep() == [third.record.id]
    assert states(queue, job)[2] == State.QUEUED
    with pytest.raises(LeaseLost):
        third.succeed({}, {})
    take(queue).succeed({}, {})  # and its worker dies before it can say more
    Reaper(queue).sweep()
    assert (queue.records.get(job.id).state, queue.records.get(job.id).phase) == ("queued", "join")
    Reaper(queue).sweep()
    assert queue.rq.get_job_ids() == [job.id]


def test_losses_before_the_cut_do_not_count_later(queue: JobQueue) -> None:
    record, _ = queue.submit(spec())
    for _ in range(2):
        take(queue)
        queue.redis.zadd(queue.leases_key, {record.id: 1.0})
        Reaper(queue).sweep()
    assert queue.records.get(record.id).losses == 2
    take(queue).hand_over(Phase.TRACK, PLAN, 3)
    assert queue.records.get(record.id).losses == 0


def test_a_worker_that_lost_the_job_hands_nothing_over(queue: JobQueue) -> None:
    record, _ = queue.submit(spec())
    lease = take(queue)
    queue.redis.zadd(queue.leases_key, {record.id: 1.0})
    Reaper(queue).sweep()
    with pytest.raises(LeaseLost):
        lease.hand_over(Phase.TRACK, PLAN, 3)
    assert queue.rq.get_job_ids() == [record.id]
    assert queue.records.segment_counts()[State.QUEUED] == 0


def test_forgotten_segments_fail_the_job_which_then_starts_over(
    queue: JobQueue, job: Record
) -> None:
    finish(queue, take(queue))
    queue.forget(segment_specs(job, Role.TRACK)[0].id)
    Splits(queue).advance(job.id)
    record = queue.records.get(job.id)
    assert record.error
    assert record.error.code == "segments_lost"
    assert queue.retry(job.id).phase == Phase.WHOLE


def test_priority_is_that_of_the_waiting_segments(queue: JobQueue, job: Record) -> None:
    other, _ = queue.submit(spec("other.mp4", split="off"))
    queue.prioritise(other.id, "front")
    take_first = queue.rq.get_job_ids()[0]
    assert take_first == other.id
    ids = [each.id for each in segment_specs(job, Role.TRACK)]
    Splits(queue).prioritise(job.id, "normal")
    assert queue.rq.get_job_ids() == [other.id, *ids]
    Splits(queue).prioritise(job.id, "front")
    assert queue.rq.get_job_ids() == [*ids, other.id]
    for _ in range(4):
        take(queue)
    with pytest.raises(StateConflict, match="running"):
        Splits(queue).prioritise(job.id, "front")


def test_the_api_shows_segments_and_changes_only_jobs(
    http: httpx.Client, queue: JobQueue, job: Record
) -> None:
    shown = http.get(f"/videos/{job.id}").json()
    assert [(each["role"], each["number"], each["state"]) for each in shown["segments"]] == [
        ("track", number, "queued") for number in (1, 2, 3)
    ]
    assert [each["id"] for each in http.get("/videos").json()["items"]] == [job.id]
    segment = shown["segments"][1]["id"]
    assert http.get(f"/videos/{segment}").json()["spec"]["segment"]["job"] == job.id
    for answer in (
        http.delete(f"/videos/{segment}"),
        http.post(f"/videos/{segment}/retry"),
        http.post(f"/videos/{segment}/priority", json={"priority": "front"}),
    ):
        assert answer.status_code == 409
        assert answer.json()["detail"] == f"this is segment 2 of job {job.id}"
    metrics = http.get("/metrics").text
    assert 'shoal_segments{state="queued"} 3.0' in metrics
    assert 'shoal_jobs{state="running"} 1.0' in metrics
    page = http.get(f"/ui/videos/{job.id}").text
    assert "track 3" in page
    assert f'href="/ui/videos/{job.id}"' in http.get(f"/ui/videos/{segment}").text


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"options": {"split": "auto", "direction": "both", "start_frame": 3}}, "not 'both'"),
        ({"options": {"split": 4, "direction": "backward"}}, "not 'backward'"),
        (
            {
                "options": {"split": 4},
                "objects": [{"label": "cup", "frame": 0, "points": [[4, 5, 1]]}],
            },
            "text prompts and exemplars only",
        ),
        ({"options": {"split": 1}}, "split"),
        ({"options": {"split": "often"}}, "split"),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_reason(
    http: httpx.Client, video: Path, changes: dict[str, Any], detail: str
) -> None:
    answer = http.post("/videos", json={"uri": video.as_uri(), "prompts": ["person"]} | changes)
    assert answer.status_code == 422
    assert detail in str(answer.json())


def test_split_is_a_part_of_the_id(http: httpx.Client, video: Path) -> None:
    ids = {
        http.post(
            "/videos",
            json={"uri": video.as_uri(), "prompts": ["person"], "options": {"split": split}},
        ).json()["id"]
        for split in ("off", "auto", 4, "4", 5)
    }
    assert len(ids) == 4
