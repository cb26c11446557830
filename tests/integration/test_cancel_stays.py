"""A job that a user cancelled ends as cancelled, however its attempt ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from shoal.errors import (
    DiskFull,
    JobTimeout,
    LeaseLost,
    ModelProcessDied,
    NotAVideo,
    ShoalError,
    StateConflict,
    StorageUnavailable,
)
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, State
from shoal.model.record import Progress
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from tests.serving import take

FAILURES = (
    StorageUnavailable("away"),
    DiskFull("full"),
    ModelProcessDied("SIGKILL"),
    NotAVideo("text"),
    JobTimeout("too long"),
)


def spec(name: str = "a.mp4") -> JobSpec:
    uri = f"file:///videos/{name}"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


def lose(lease: Lease) -> None:
    """Its worker vanishes, and the reaper finds out."""
    lease.queue.redis.zadd(lease.queue.leases_key, {lease.record.id: 1})
    Reaper(lease.queue).sweep()


def fail(error: ShoalError) -> Callable[[Lease], None]:
    return lambda lease: lease.fail(Failure.of(error))


ENDS: dict[str, Callable[[Lease], None]] = {
    "SIGTERM": Lease.give_back,
    "lost": lose,
    "stopped": Lease.cancel,
    **{error.code: fail(error) for error in FAILURES},
}


def is_nowhere(queue: JobQueue, job_id: str) -> bool:
    """Whether no list that leads to an attempt has the job."""
    lists = (queue.rq.key, queue.rq.intermediate_queue_key)
    ids = {i for key in lists for i in queue.redis.lrange(key, 0, -1)}
    waits = [queue.redis.zscore(key, job_id) for key in (queue.leases_key, queue.delayed.key)]
    return job_id.encode() not in ids and waits == [None, None]


@pytest.mark.parametrize("beats", [0, 1], ids=["before a heartbeat", "after it"])
@pytest.mark.parametrize("end", ENDS)
def test_it_is_cancelled_however_the_attempt_ends(queue: JobQueue, end: str, beats: int) -> None:
    job_id = queue.submit(spec())[0].id
    lease = take(queue)
    assert queue.cancel(job_id).cancel_requested
    for _ in range(beats):
        assert lease.heartbeat(Progress())
    ENDS[end](lease)
    record = queue.records.get(job_id)
    assert (record.state, record.cancel_requested, record.error) == (State.CANCELLED, False, None)
    assert is_nowhere(queue, job_id)
    assert queue.records.attempts(job_id)[-1].outcome in (
        "preempted",
        "lost",
        "cancelled",
        "failed",
    )
    assert queue.cancel(job_id).state == State.CANCELLED


def test_a_commit_is_refused_once_a_user_has_cancelled(queue: JobQueue) -> None:
    job_id = queue.submit(spec())[0].id
    lease = take(queue)
    assert lease.check() is False
    queue.cancel(job_id)
    assert lease.check() is True


def test_one_that_an_earlier_release_queued_again_is_cancelled(queue: JobQueue) -> None:
    """By a second cancel, or at the latest when a worker takes it."""
    first, second = (queue.submit(spec(name))[0].id for name in ("a.mp4", "b.mp4"))
    for job_id in (first, second):
        queue.redis.hset(queue.records.key(job_id), "cancel_requested", 1)
    assert queue.cancel(first).state == State.CANCELLED
    queue.redis.lmove(queue.rq.key, queue.rq.intermediate_queue_key)
    assert Lease.take(queue, second, "worker-1") is None
    assert queue.records.get(second).state == State.CANCELLED
    assert is_nowhere(queue, first)
    assert is_nowhere(queue, second)


OPS = st.lists(
    st.sampled_from([*ENDS, "take", "untake", "beat", "cancel", "retry", "front", "due", "sweep"]),
    min_size=4,
    max_size=14,
)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ops=OPS)
def test_whatever_happens_in_between(queue: JobQueue, ops: list[str]) -> None:
    """A cancel that was answered holds until a user retries; and one list has the job, or none."""
    queue.redis.flushall()
    queue = JobQueue(queue.redis, queue.name, retries=3, lease_s=600, retry_pauses_s=(0.001, 600))
    job_id = queue.submit(spec())[0].id
    lease: Lease | None = None
    is_cancelled = False
    for op in ops:
        match op:
            case "take" if lease is None:
                found = queue.redis.lmove(queue.rq.key, queue.rq.intermediate_queue_key)
                lease = Lease.take(queue, job_id, "worker-1") if found else None
            case "untake" if lease is None:
                if queue.redis.lmove(queue.rq.key, queue.rq.intermediate_queue_key):
                    queue.untake(job_id)
            case "beat" if lease is not None:
                lease.heartbeat(Progress())
            case "cancel":
                with suppress(StateConflict):
                    queue.cancel(job_id)
                    is_cancelled = True
            case "retry":
                with suppress(StateConflict):
                    queue.retry(job_id)
                    is_cancelled = False
            case "front":
                with suppress(StateConflict):
                    queue.prioritise(job_id, "front")
            case "due":
                queue.release_due()
            case "sweep":
                Reaper(queue).sweep()
            case _ if op in ENDS and lease is not None:
                is_cancelled |= op == "stopped"
                ENDS[op](lease)
                with pytest.raises(LeaseLost):
                    lease.check()
                lease = None
        record = queue.records.get(job_id)
        places = queue.redis.lrange(queue.rq.key, 0, -1).count(job_id.encode())
        places += queue.redis.zscore(queue.delayed.key, job_id) is not None
        assert places == (record.state == State.QUEUED)
        assert (queue.redis.zscore(queue.leases_key, job_id) is None) == (lease is None)
        assert (record.retry_at is not None) == (
            queue.redis.zscore(queue.delayed.key, job_id) is not None
        )
        if is_cancelled:
            assert record.state == State.CANCELLED or (lease and record.cancel_requested)
