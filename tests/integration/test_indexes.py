"""Finding jobs by what they are, counting them, and forgetting them in the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from shoal.errors import AudioOnly, JobNotFound, NotAVideo, RequestError
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import JobSpec, State
from shoal.model.record import now
from shoal.model.worker import WorkerInfo
from shoal.queue.indexes import ENDED
from shoal.queue.lease import Lease
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.records import TEXT_SCAN
from shoal.queue.result_sizes import key_of
from shoal.queue.stats import DAY_S, Sample, ended
from shoal.queue.workers import announce
from tests.serving import take

Add = Callable[..., str]


@pytest.fixture
def add(queue: JobQueue) -> Add:
    """Queue a job of a name; returns its id."""

    def add(name: str = "match", *prompts: str) -> str:
        spec = JobSpec(
            uri=f"gs://videos/{name}.mp4",
            version="1",
            size=1,
            prompts=prompts or ("person",),
            results="gs://videos/results",
        )
        return queue.submit(spec)[0].id

    return add


def take_as(queue: JobQueue, worker: str) -> Lease:
    job_id = queue.line.take()
    assert isinstance(job_id, bytes)
    lease = Lease.take(queue, job_id.decode(), worker)
    assert lease is not None
    return lease


def ids(queue: JobQueue, **wanted: object) -> list[str]:
    """All pages of a filter, two jobs a page."""
    found: list[str] = []
    cursor = ""
    while True:
        page, cursor = queue.records.page(Filter.model_validate(wanted), limit=2, cursor=cursor)
        assert len(page) <= 2
        found += [record.id for record in page]
        if not cursor:
            return found


def test_filters_combine(queue: JobQueue, add: Add) -> None:
    jobs = [add(f"m{i}", "Person", *(["soccer ball"] if i % 2 else [])) for i in range(6)]
    for i in range(4):
        error = AudioOnly("no picture") if i < 2 else NotAVideo("a text")
        take_as(queue, f"gpu-{i % 2}").fail(Failure.of(error))
    assert ids(queue) == jobs[::-1]
    assert ids(queue, prompt="  PERSON ") == jobs[::-1]
    assert ids(queue, prompt="soccer ball") == [jobs[5], jobs[3], jobs[1]]
    assert ids(queue, cause="audio_only") == [jobs[1], jobs[0]]
    assert ids(queue, worker="gpu-1") == [jobs[3], jobs[1]]
    assert ids(queue, worker="gpu-1", cause="audio_only", state="failed") == [jobs[1]]
    assert ids(queue, prompt="soccer ball", state="queued") == [jobs[5]]
    assert ids(queue, text="VIDEOS/m4") == [jobs[4]]
    assert ids(queue, text="soccer", state="failed") == [jobs[3], jobs[1]]
    assert ids(queue, cause="unheard_of") == []


def test_times_bound_a_list(queue: JobQueue, add: Add, redis: Redis) -> None:
    first, second = add("first"), add("second")
    created = queue.records.get(second).created_at
    at = datetime.fromtimestamp(math.floor(created * 1e6) / 1e6, UTC)  # which has no finer digits
    assert ids(queue, after=at) == [second]
    assert ids(queue, before=at) == [first]
    assert ids(queue, after=at.replace(tzinfo=None)) == [second]  # UTC, where nothing is said
    assert ids(queue, after=at - timedelta(days=1), before=at + timedelta(days=1)) == [
        second,
        first,
    ]
    assert queue.records.indexes.count(Filter(before=at)) == 1


def test_lists_follow_what_becomes_of_a_job(queue: JobQueue, add: Add) -> None:
    job = add()
    take_as(queue, "gpu-1").fail(Failure.of(AudioOnly("no picture")))
    assert queue.records.indexes.by_cause() == {"audio_only": 1}
    queue.retry(job)
    assert queue.records.indexes.by_cause() == {}
    assert ids(queue, worker="gpu-1") == []
    lease = take_as(queue, "gpu-2")
    assert ids(queue, worker="gpu-2", state="running") == [job]
    lease.give_back()
    assert (ids(queue, worker="gpu-2"), ids(queue, state="queued")) == ([], [job])
    take_as(queue, "gpu-3").succeed({}, {"frames_processed": 7})
    assert ids(queue, worker="gpu-3", state="succeeded") == [job]


def test_a_text_is_looked_for_within_limits(queue: JobQueue, add: Add, redis: Redis) -> None:
    job = add("needle")
    pipe = redis.pipeline()
    for i in range(TEXT_SCAN + 10):  # newer ones whose records are gone
        pipe.zadd(queue.records.indexes.key("jobs"), {f"{i:024d}": 9e9 + i})
    pipe.execute()
    page, cursor = queue.records.page(Filter(text="needle"))
    assert (page, bool(cursor)) == ([], True)
    page, cursor = queue.records.page(Filter(text="needle"), cursor=cursor)
    assert [record.id for record in page] == [job]


@pytest.mark.parametrize("cursor", ["nan~1", "x~1", "5", "~"])
def test_a_wrong_cursor(queue: JobQueue, add: Add, cursor: str) -> None:
    add()
    with pytest.raises(RequestError):
        queue.records.page(cursor=cursor)


def test_counts(queue: JobQueue, add: Add) -> None:
    for name in "abc":
        add(name)
    count = queue.records.indexes.count
    assert count(Filter()) == count(Filter(prompt="person")) == 3
    assert count(Filter(state=State.FAILED)) == 0
    assert count(Filter(prompt="person", state="queued")) == 3
    assert count(Filter(prompt="person", state="failed")) == 0
    assert count(Filter(text="a")) is None
    later = datetime(2000, 1, 1, tzinfo=UTC)
    assert count(Filter(after=later)) == 3
    assert count(Filter(prompt="person", state="queued", after=later)) is None


# --- the end of a job ----------------------------------------------------------------------------


def test_old_jobs_are_forgotten_without_a_trace(queue: JobQueue, add: Add, redis: Redis) -> None:
    before = set(redis.keys())
    for name in "abc":
        add(name, "person", "ball")
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    take(queue).succeed({"a.mp4": 1}, {})
    queue.cancel(ids(queue, state="queued")[0])
    upkeep = Maintenance(queue, retention_days=30)
    assert upkeep.forget_old() == []
    redis.zadd(
        queue.records.indexes.key(ENDED), dict.fromkeys(ids(queue), now() - 31 * DAY_S), xx=True
    )
    gone = upkeep.forget_old()
    assert len(gone) == 3
    with pytest.raises(JobNotFound):
        queue.records.get(gone[0])
    assert queue.line.take() is None
    stays = {b"shoal:causes", b"shoal:totals", key_of(queue.name).encode(), b"rq:queues"}
    assert set(redis.keys()) - before - stays == set()


def test_a_job_that_was_retried_is_not_forgotten(queue: JobQueue, add: Add, redis: Redis) -> None:
    job = add()
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    key = queue.records.indexes.key(ENDED)
    redis.zadd(key, {job: 5}, xx=True)
    queue.retry(job)
    assert redis.zcard(key) == 0
    redis.zadd(key, {job: 5})  # as another process may have read it a moment ago
    Maintenance(queue, retention_days=1).forget_old()
    assert queue.records.get(job).state == State.QUEUED


def test_nothing_is_forgotten_with_0(queue: JobQueue, add: Add, redis: Redis) -> None:
    job = add()
    queue.cancel(job)
    redis.zadd(queue.records.indexes.key(ENDED), {job: 5})
    assert Maintenance(queue, retention_days=0).forget_old() == []


# --- sums and samples ----------------------------------------------------------------------------


def test_totals_only_grow(queue: JobQueue, add: Add) -> None:
    for name in "abcd":
        add(name)
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    take(queue).fail(Failure.of(NotAVideo("a text")))
    take(queue).give_back()
    take(queue).succeed({}, {"frames_processed": 50, "duration_s": 2.5})
    queue.retry(ids(queue, cause="audio_only")[0])
    totals = queue.records.totals.read()
    assert (ended(totals, "failed"), ended(totals, "succeeded")) == (2, 1)
    assert totals["jobs:failed:audio_only"] == 1
    assert (totals["frames"], totals["video_seconds"]) == (50, 2.5)
    assert (totals["attempts:preempted"], totals["attempts:failed"]) == (1, 2)
    assert totals["seconds:failed"] >= 0


def test_a_minute_has_one_sample(queue: JobQueue, add: Add, redis: Redis) -> None:
    add()
    announce(redis, queue.name, WorkerInfo(name="w", host="h", pid=1, started_at=1), ttl_s=60)
    upkeeps = [Maintenance(queue, retention_days=1) for _ in range(2)]
    for upkeep in upkeeps:
        upkeep.run()
    samples = queue.records.totals.history(since=0)
    minutes = {sample.at for sample in samples}
    assert len(samples) == len(minutes) <= 2  # a new minute may have begun in between
    assert (samples[0].queued, samples[0].running, samples[0].workers) == (1, 0, 1)
    later = samples[-1].model_copy(update={"at": samples[-1].at + 60})
    queue.records.totals.record(later)
    queue.records.totals.record(Sample.model_validate(later.model_dump() | {"queued": 9}))
    assert queue.records.totals.history(since=later.at) == [later]
