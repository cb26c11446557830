"""A failure of what may come back is tried again after a pause; other videos go first meanwhile."""

from __future__ import annotations

import time

import pytest

from shoal.cli.views import outcome
from shoal.errors import (
    DiskFull,
    GpuError,
    ModelProcessDied,
    ModelStalled,
    OpeningTimeout,
    OutOfMemory,
    ShoalError,
    StorageThrottled,
    StorageUnavailable,
)
from shoal.formatting import event_text
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, State
from shoal.model.record import Record
from shoal.queue.delayed import JITTER, Delayed
from shoal.queue.queue import JobQueue, open_queue
from shoal.queue.reaper import Reaper
from shoal.settings import Settings
from tests.serving import take

AWAY = Failure.of(StorageUnavailable("no answer"))
PAUSES_S = (1000.0, 6000.0, 30_000.0)  # none is over while the test stands still for a moment
ROUNDED_S = 0.01


def spec(name: str = "a.mp4") -> JobSpec:
    uri = f"file:///videos/{name}"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


@pytest.fixture
def pausing(queue: JobQueue) -> JobQueue:
    return JobQueue(queue.redis, queue.name, retries=4, lease_s=600, retry_pauses_s=PAUSES_S)


def pass_time(queue: JobQueue, job_id: str) -> None:
    """Let the job's pause be over."""
    queue.redis.zadd(queue.delayed.key, {job_id: 1})


def fail(queue: JobQueue, failure: Failure = AWAY) -> Record:
    lease = take(queue)
    lease.fail(failure)
    return queue.records.get(lease.record.id)


def test_the_pauses_are_a_setting() -> None:
    assert Settings().retry_pauses_s == (10, 60, 300)
    assert Settings(retry_pauses_s="0.5, 2").retry_pauses_s == (0.5, 2)
    assert Settings(retry_pauses_s="").retry_pauses_s == ()


def test_settings_reach_the_queue(queue: JobQueue, settings: Settings) -> None:
    pausing = open_queue(settings.model_copy(update={"retry_pauses_s": (50,)}), queue.redis)
    pausing.submit(spec())
    assert fail(pausing).retry_at is not None


@pytest.mark.parametrize("error", [StorageUnavailable, StorageThrottled, DiskFull, OpeningTimeout])
def test_pauses_grow_and_other_videos_go_first(pausing: JobQueue, error: type[ShoalError]) -> None:
    job_id = pausing.submit(spec())[0].id
    for failures, pause_s in enumerate([*PAUSES_S, PAUSES_S[-1]], start=1):
        before = time.time()
        record = fail(pausing, Failure.of(error("away")))
        assert (record.state, record.failures) == (State.QUEUED, failures)
        assert record.retry_at is not None
        assert record.retry_at >= before + (1 - JITTER) * pause_s - ROUNDED_S
        assert record.retry_at <= time.time() + (1 + JITTER) * pause_s + ROUNDED_S
        other = pausing.submit(spec(f"{failures}.mp4"))[0].id
        assert pausing.release_due() == []
        assert take(pausing).record.id == other
        assert pausing.redis.llen(pausing.rq.key) == 0
        pass_time(pausing, job_id)
        Reaper(pausing).sweep()
    record = fail(pausing, Failure.of(error("away")))
    assert (record.state, record.retry_at) == (State.FAILED, None)


@pytest.mark.parametrize("error", [ModelProcessDied, OutOfMemory, ModelStalled, GpuError])
def test_a_lost_model_process_is_replaced_at_once(
    pausing: JobQueue, error: type[ShoalError]
) -> None:
    pausing.submit(spec())
    record = fail(pausing, Failure.of(error("it ended")))
    assert (record.state, record.retry_at) == (State.QUEUED, None)
    assert take(pausing).record.id == record.id


def test_what_failed_together_does_not_come_back_together(queue: JobQueue) -> None:
    pauses = {Delayed(queue.redis, "x", PAUSES_S).pause_s(0) for _ in range(20)}
    assert len(pauses) > 15


def test_everybody_sees_when(pausing: JobQueue) -> None:
    job_id = pausing.submit(spec())[0].id
    record = fail(pausing)
    last = pausing.records.timeline(job_id)[-1]
    assert last.detail["retry_at"] == record.retry_at
    assert event_text(last.event, last.detail).startswith("Retries at 20")
    assert outcome(record).startswith("retries at 20")


@pytest.mark.parametrize("number", [1, 5])
def test_it_is_queued_once_whoever_notices(pausing: JobQueue, number: int) -> None:
    job_id = pausing.submit(spec())[0].id
    fail(pausing)
    pass_time(pausing, job_id)
    due = pausing.delayed.due()
    for _ in range(number):
        Reaper(pausing).sweep()
    assert due == [job_id]
    assert pausing.rq.get_job_ids() == [job_id]
    assert pausing.records.get(job_id).retry_at is None


def test_a_user_need_not_wait(pausing: JobQueue) -> None:
    first, second = (pausing.submit(spec(name))[0].id for name in ("a.mp4", "b.mp4"))
    for _ in range(2):
        fail(pausing)
    pausing.submit(spec("c.mp4"))
    assert pausing.retry(first).retry_at is None
    assert pausing.prioritise(second, "front").retry_at is None
    assert pausing.rq.get_job_ids() == [second, spec("c.mp4").id, first]
    assert pausing.redis.zcard(pausing.delayed.key) == 0


def test_one_that_waits_is_cancelled_and_not_submitted_twice(pausing: JobQueue) -> None:
    job_id = pausing.submit(spec())[0].id
    fail(pausing)
    assert pausing.submit(spec())[1] is False
    assert pausing.records.counts()[State.QUEUED] == 1
    assert pausing.cancel(job_id).state == State.CANCELLED
    pass_time(pausing, job_id)
    assert pausing.release_due() == []
    assert pausing.redis.zcard(pausing.delayed.key) == 0
    assert pausing.rq.get_job_ids() == []


def test_a_record_that_cannot_be_read_is_set_aside(pausing: JobQueue) -> None:
    job_id = pausing.submit(spec())[0].id
    fail(pausing)
    pausing.redis.hset(pausing.records.key(job_id), "spec", "no JSON")
    pass_time(pausing, job_id)
    assert pausing.release_due() == []
    assert pausing.redis.zcard(pausing.delayed.key) == 0
