"""Queue, leases and the reaper, against a real Valkey."""

from __future__ import annotations

import threading
import time

import pytest
from redis import Redis

from shoal.errors import JobNotFound, LeaseLost, NotAVideo, StateConflict, StorageUnavailable
from shoal.model.failure import Failure
from shoal.model.filter import ALL, Filter
from shoal.model.job import JobSpec, State
from shoal.model.record import Progress
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue, open_queue
from shoal.queue.reaper import Reaper
from shoal.settings import Settings
from tests.serving import take

TRANSIENT = Failure.of(StorageUnavailable("no answer"))
PERMANENT = Failure.of(NotAVideo("not a video"))


def spec(name: str = "a.mp4") -> JobSpec:
    uri = f"file:///videos/{name}"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


def queued_ids(queue: JobQueue) -> list[str]:
    return queue.rq.get_job_ids()


def events(queue: JobQueue, job_id: str) -> list[str]:
    return [event.event for event in queue.records.timeline(job_id)]


def test_record_and_queue_entry_appear_together(queue: JobQueue) -> None:
    record, created = queue.submit(spec())
    assert created
    assert record.state == State.QUEUED
    assert queued_ids(queue) == [record.id]
    assert queue.records.get(record.id) == record


@pytest.mark.parametrize("name", ["⚽ 🏀 é.mp4", "a\0b\x01.mp4", '\u2028 x"\\/%20.mp4'])
def test_any_text_comes_back_as_it_was(queue: JobQueue, name: str) -> None:
    wanted = JobSpec(
        uri=f"s3://b/{name}", version=name, size=1, prompts=(name,), results="s3://b/out"
    )
    record, _ = queue.submit(wanted)
    assert queue.records.get(record.id) == record
    assert queue.records.get(record.id).spec == wanted
    assert queue.submit(wanted)[1] is False


def test_new_jobs_of_many_are_queued_and_the_others_told(queue: JobQueue) -> None:
    known, _ = queue.submit(spec("1.mp4"))
    specs = [spec(f"{number}.mp4") for number in range(3)]
    assert queue.submit_new([*specs, specs[0]], batch="b") == [specs[1], specs[0]]
    assert queued_ids(queue) == [known.id, specs[0].id, specs[2].id]
    assert queue.records.get(specs[2].id).batches == ["b"]
    assert queue.submit_new([]) == []


def test_the_same_job_submitted_at_once_by_many_is_queued_once(
    queue: JobQueue, settings: Settings
) -> None:
    def submit() -> None:
        created.append(queue.submit(spec())[1])

    created: list[bool] = []
    threads = [threading.Thread(target=submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created.count(True) == 1
    assert len(created) == 20
    assert len(queued_ids(queue)) == 1


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.SUCCEEDED])
def test_a_known_job_is_answered_with_itself(queue: JobQueue, state: State) -> None:
    first, _ = queue.submit(spec())
    if state != State.QUEUED:
        lease = take(queue)
        if state == State.SUCCEEDED:
            lease.succeed({"a_metadata.json": 3}, {})
    again, created = queue.submit(spec())
    assert not created
    assert (again.id, again.state) == (first.id, state)
    assert len(queued_ids(queue)) == (1 if state == State.QUEUED else 0)


def test_success_leaves_a_record_and_no_queue_entry(queue: JobQueue, redis: Redis) -> None:
    queue.submit(spec())
    lease = take(queue)
    lease.succeed({"a_metadata.json": 3}, {"objects_detected": 2})
    record = queue.records.get(lease.record.id)
    assert record.state == State.SUCCEEDED
    assert record.results == {"a_metadata.json": 3}
    assert record.finished_at is not None
    assert events(queue, record.id) == ["queued", "started", "succeeded"]
    keys = [key.decode() for key in redis.keys("*") if isinstance(key, bytes)]
    left = {key for key in keys if record.id in key}
    assert left == {f"shoal:{kind}:{record.id}" for kind in ("job", "timeline", "attempts")}


def test_transient_failures_are_retried_up_to_the_limit(queue: JobQueue) -> None:
    queue.submit(spec())
    for failures in range(1, queue.retries + 1):
        lease = take(queue)
        lease.fail(TRANSIENT)
        record = queue.records.get(lease.record.id)
        assert (record.state, record.failures) == (State.QUEUED, failures)
    take(queue).fail(TRANSIENT)
    record = queue.records.get(spec().id)
    assert record.state == State.FAILED
    assert record.error is not None
    assert record.error.code == "storage_unavailable"
    assert queued_ids(queue) == []


def test_a_permanent_failure_is_final_and_can_be_retried_by_a_user(queue: JobQueue) -> None:
    queue.submit(spec())
    take(queue).fail(PERMANENT)
    record = queue.records.get(spec().id)
    assert record.state == State.FAILED
    assert queue.failed.get_job_ids(cleanup=False) == [record.id]
    record = queue.retry(record.id)
    assert record.state == State.QUEUED
    assert record.error is None
    assert queued_ids(queue) == [record.id]
    assert queue.failed.get_job_ids(cleanup=False) == []
    with pytest.raises(StateConflict):
        queue.retry(record.id)


def test_a_preempted_job_goes_first_and_costs_no_retry(queue: JobQueue) -> None:
    queue.submit(spec("a.mp4"))
    lease = take(queue)
    queue.submit(spec("b.mp4"))
    lease.give_back()
    assert queued_ids(queue)[0] == lease.record.id
    record = queue.records.get(lease.record.id)
    assert (record.preemptions, record.failures) == (1, 0)


def test_a_job_has_taken_all_the_time_since_its_first_attempt(queue: JobQueue) -> None:
    queue.submit(spec())
    lease = take(queue)
    key = queue.records.key(lease.record.id)
    queue.redis.hset(key, "begun_at", time.time() - 100)
    lease.give_back()
    take(queue).fail(PERMANENT)
    record = queue.records.get(lease.record.id)
    assert record.took_s is not None
    assert 100 <= record.took_s < 200
    queue.retry(record.id)
    take(queue).succeed({}, {})
    again = queue.records.get(record.id)
    assert again.took_s is not None
    assert again.took_s < 100  # since it was submitted anew


def test_a_waiting_job_is_cancelled_at_once(queue: JobQueue) -> None:
    record, _ = queue.submit(spec())
    assert queue.cancel(record.id).state == State.CANCELLED
    assert queued_ids(queue) == []
    assert queue.cancel(record.id).state == State.CANCELLED


def test_a_running_job_is_asked_to_stop(queue: JobQueue) -> None:
    queue.submit(spec())
    lease = take(queue)
    assert not lease.heartbeat(Progress())
    queue.cancel(lease.record.id)
    assert lease.heartbeat(Progress())
    lease.cancel()
    assert queue.records.get(lease.record.id).state == State.CANCELLED
    with pytest.raises(JobNotFound):
        queue.cancel("0" * 24)


def test_a_finished_job_cannot_be_cancelled(queue: JobQueue) -> None:
    queue.submit(spec())
    take(queue).succeed({}, {})
    with pytest.raises(StateConflict):
        queue.cancel(spec().id)


def test_a_job_cancelled_on_its_way_to_a_worker_is_not_started(queue: JobQueue) -> None:
    record, _ = queue.submit(spec())
    queue.redis.lmove(queue.rq.key, queue.rq.intermediate_queue_key)
    queue.cancel(record.id)
    assert Lease.take(queue, record.id, "worker-1") is None


def test_a_worker_that_lost_its_lease_can_change_nothing(queue: JobQueue) -> None:
    queue.submit(spec())
    stale = take(queue)
    queue.redis.zadd(queue.leases_key, {stale.record.id: 1})  # its lease ended long ago
    assert Reaper(queue).sweep() == [stale.record.id]
    fresh = take(queue)
    for write in (
        stale.check,
        stale.give_back,
        stale.cancel,
        lambda: stale.heartbeat(Progress()),
        lambda: stale.succeed({}, {}),
        lambda: stale.fail(PERMANENT),
    ):
        with pytest.raises(LeaseLost):
            write()
    fresh.succeed({}, {})
    assert events(queue, spec().id) == ["queued", "started", "lost", "started", "succeeded"]


def test_a_live_lease_is_left_alone(queue: JobQueue) -> None:
    queue.submit(spec())
    take(queue).heartbeat(Progress())
    assert Reaper(queue).sweep() == []


def test_a_cancelled_job_of_a_vanished_worker_ends_cancelled(queue: JobQueue) -> None:
    queue.submit(spec())
    lease = take(queue)
    queue.cancel(lease.record.id)
    queue.redis.zadd(queue.leases_key, {lease.record.id: 1})
    Reaper(queue).sweep()
    assert queue.records.get(lease.record.id).state == State.CANCELLED


def test_two_reapers_queue_an_abandoned_job_once(queue: JobQueue) -> None:
    for i in range(20):
        queue.submit(spec(f"{i}.mp4"))
        lease = take(queue)
        queue.redis.zadd(queue.leases_key, {lease.record.id: 1})
    reapers = [threading.Thread(target=Reaper(queue).sweep) for _ in range(4)]
    for reaper in reapers:
        reaper.start()
    for reaper in reapers:
        reaper.join()
    assert len(queued_ids(queue)) == len(set(queued_ids(queue))) == 20


def test_a_job_stranded_between_queue_and_worker_comes_back(
    settings: Settings, redis: Redis
) -> None:
    queue = open_queue(settings.model_copy(update={"lease_s": 0.2}), redis)
    record, _ = queue.submit(spec())
    redis.lmove(queue.rq.key, queue.rq.intermediate_queue_key)
    reaper = Reaper(queue)
    assert reaper.sweep() == []
    time.sleep(0.3)
    assert reaper.sweep() == [record.id]
    assert queued_ids(queue) == [record.id]


def test_pages_are_newest_first_and_complete(queue: JobQueue) -> None:
    ids = [queue.submit(spec(f"match-{i}.mp4"))[0].id for i in range(7)]
    ids += [queue.submit(spec(f"training-{i}.mp4"))[0].id for i in range(3)]
    seen: list[str] = []
    cursor = ""
    while True:
        page, cursor = queue.records.page(limit=3, cursor=cursor)
        seen += [record.id for record in page]
        if not cursor:
            break
    assert seen == ids[::-1]
    found, _ = queue.records.page(Filter(text="TRAINING"))
    assert [record.id for record in found] == ids[:6:-1]
    queue.cancel(ids[0])
    cancelled, _ = queue.records.page(Filter(state=State.CANCELLED))
    assert [record.id for record in cancelled] == [ids[0]]


def test_pages_do_not_repeat_or_skip_records_of_the_same_moment(
    queue: JobQueue, redis: Redis
) -> None:
    ids = {queue.submit(spec(f"{i}.mp4"))[0].id for i in range(5)}
    for job_id in ids:
        redis.hset(queue.records.key(job_id), "created_at", 5.0)
        redis.zadd(queue.records.indexes.key(ALL), {job_id: 5.0})
    first, cursor = queue.records.page(limit=2)
    rest, _ = queue.records.page(limit=10, cursor=cursor)
    assert len(first + rest) == 5
    assert {record.id for record in first + rest} == ids


def test_depth_counts_and_ages(queue: JobQueue) -> None:
    queue.submit(spec("a.mp4"))
    queue.submit(spec("b.mp4"))
    take(queue)
    depth = queue.depth()
    assert (depth.queued, depth.running) == (1, 1)
    assert depth.oldest_queued_s >= 0


def test_progress_is_told_in_tenths(queue: JobQueue) -> None:
    queue.submit(spec())
    lease = take(queue)
    for frames in range(100):
        lease.heartbeat(Progress(frames=frames, frames_expected=100))
    assert events(queue, lease.record.id).count("progress") == 9


def test_a_job_of_a_release_that_ignored_the_order_of_prompts_stays_that_job(
    queue: JobQueue,
) -> None:
    new = spec().model_copy(update={"prompts": ("person", "ball")})
    ordered = spec().model_copy(update={"prompts": ("ball", "person")})
    assert new.earlier_id == ordered.id != new.id
    assert ordered.earlier_id == ""
    old, _ = queue.submit(new.known_as(new.earlier_id))
    take(queue).succeed({}, {})
    assert queue.submit_new([new]) == [new]
    record, queued = queue.submit(new, callback="https://a.example/hook")
    assert (record.id, queued) == (old.id, False)
    assert record.callbacks == ["https://a.example/hook"]
    # Another order numbers the categories in another way: that is another job, as before.
    other = spec().model_copy(update={"prompts": ("person", "ball", "car")})
    queue.submit(other.known_as(other.earlier_id))
    again = other.model_copy(update={"prompts": ("car", "person", "ball")})
    assert again.earlier_id == other.earlier_id
    assert queue.submit(again)[0].id == again.id
    queue.cancel(other.earlier_id)
    record, queued = queue.submit(other)
    assert (record.id, queued, record.state) == (other.earlier_id, True, State.QUEUED)
