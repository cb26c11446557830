"""The jobs of a batch: its counts are theirs; cancelling, retrying and forgetting them together."""

from __future__ import annotations

import time
from typing import Any

import pytest

from api.background.batch_runner import PAGE, BatchRunner
from shoal.errors import BatchNotFound, VideoError
from shoal.model.batch import BatchState
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import State
from shoal.model.record import Progress
from shoal.queue import cancelling
from shoal.queue.batches import Batches
from shoal.queue.cancelling import cancel_waiting
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.integration.batching import expand, request_of, write_videos
from tests.integration.test_queue import spec
from tests.serving import take, waiting, write_video


def failure() -> Failure:
    return Failure.of(VideoError("broken"))


def test_the_counts_are_those_of_the_jobs(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    batch = batches.create(request_of(globs=[write_videos(settings, 10)]))
    expand(runner)
    for _ in range(3):
        take(queue).fail(failure())
    take(queue).succeed({}, {})
    take(queue)
    queue.cancel(waiting(queue)[0])
    status = batches.status(batches.get(batch.id))
    assert status.counts == {
        State.QUEUED: 4, State.RUNNING: 1, State.SUCCEEDED: 1, State.FAILED: 3, State.CANCELLED: 1,
    }  # fmt: skip
    assert status.failures == {VideoError.code: 3}
    assert status.progress == 0.5
    assert not status.is_over
    for state, count in status.counts.items():
        found, _ = queue.records.page(Filter(batch=batch.id, state=state))
        assert len(found) == count
        assert {record.state for record in found} == {state}
    found, _ = queue.records.page(Filter(batch=batch.id, cause=VideoError.code))
    assert len(found) == 3


def test_time_spent_and_left(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    other = batches.create(request_of(uris=[write_video(settings).as_uri()]))
    expand(runner)
    take(queue).succeed({}, {})
    batch = batches.create(request_of(globs=[write_videos(settings, 4)]))
    expand(runner)
    assert batches.status(batches.get(batch.id)).eta_s is None
    begun = time.monotonic()
    for spent in (90, 110):
        lease = take(queue)
        key = queue.records.key(lease.record.id)
        queue.redis.hset(key, "started_at", lease.record.started_at - spent)  # type: ignore[operator]
        lease.succeed({}, {})
    lease = take(queue)
    lease.heartbeat(Progress(stage="predict", frames=25, frames_expected=100, fps=5.0))
    status = batches.status(batches.get(batch.id))
    assert 200 <= status.gpu_seconds < 201 + 2 * (time.monotonic() - begun)
    assert status.progress == pytest.approx(2.25 / 4)
    assert status.eta_s is None  # no worker has said that it lives
    assert batches.status(batches.get(other.id)).gpu_seconds < 50


def test_a_cancelled_batch_queues_no_more(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    batch = batches.create(request_of(globs=[write_videos(settings, 3 * PAGE)]))
    runner.round()
    done, running = take(queue), take(queue)
    done.succeed({}, {})
    batches.cancel(batch.id)
    assert batches.status(batches.get(batch.id)).state == BatchState.CANCELLING
    expand(runner)
    status = batches.status(batches.get(batch.id))
    assert status.state == BatchState.CANCELLED
    assert status.counts[State.CANCELLED] == PAGE - 2
    assert status.counts[State.SUCCEEDED] == status.counts[State.RUNNING] == 1
    assert queue.records.get(running.record.id).cancel_requested
    assert not status.is_over  # one is yet to stop
    running.cancel()
    assert batches.status(batches.get(batch.id)).is_over
    assert waiting(queue) == []
    # Submitted anew, it goes on with what is not done.
    again = batches.create(batch.work.model_copy(update={"uris": []}))  # type: ignore[arg-type]
    expand(runner)
    assert batches.status(again).counts[State.QUEUED] == 3 * PAGE - 1


def test_only_what_failed_is_retried_and_once(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    count = PAGE + 20
    batch = batches.create(request_of(globs=[write_videos(settings, count + 2)]))
    expand(runner)
    take(queue).succeed({}, {})
    queue.cancel(waiting(queue)[-1])
    for _ in range(count):
        take(queue).fail(failure())
    assert batches.status(batches.get(batch.id)).state == BatchState.FINISHED
    batches.retry(batch.id)
    runner.round()
    first = take(queue)
    first.fail(failure())  # fails again, while others are still to be retried
    expand(runner)
    status = batches.status(batches.get(batch.id))
    assert status.counts == {
        State.QUEUED: count - 1, State.RUNNING: 0,
        State.SUCCEEDED: 1, State.FAILED: 1, State.CANCELLED: 1,
    }  # fmt: skip
    assert queue.records.get(first.record.id).state == State.FAILED
    assert len(set(waiting(queue))) == len(waiting(queue)) == count - 1


def test_a_batch_is_forgotten_with_its_jobs(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    batch = batches.create(request_of(globs=[write_videos(settings, 2)], uris=["file:///x"]))
    maintenance = Maintenance(queue, retention_days=1e-9)
    maintenance.forget_old()
    assert batches.get(batch.id).has_work
    expand(runner)
    take(queue).succeed({}, {})
    maintenance.forget_old()
    assert batches.status(batches.get(batch.id)).videos == 1
    take(queue).fail(failure())
    maintenance.forget_old()
    with pytest.raises(BatchNotFound):
        batches.get(batch.id)
    assert list(queue.redis.scan_iter("*batch*")) == []


def test_many_that_wait_are_cancelled_in_chunks(queue: JobQueue, batches: Batches) -> None:
    """With all that one cancel does, and what has changed in between is left as it is."""
    hook = "https://example.com/"
    ids = [queue.submit(spec(f"{n}.mp4"), callback=hook, batch="b")[0].id for n in range(150)]
    other = queue.submit(spec("other.mp4"))[0].id
    first = take(queue)
    found = cancel_waiting(queue, "b", 1000)
    assert {record.id for record in found} == set(ids[1:])
    assert waiting(queue) == [other]
    assert queue.records.counts()[State.CANCELLED] == 149
    assert len(queue.callbacks.due(500)) == 149
    assert queue.records.totals.read()["jobs:cancelled"] == 149
    assert [event.event for event in queue.records.timeline(ids[5])] == ["queued", "cancelled"]
    record = queue.records.get(ids[5])
    assert (record.state, bool(record.finished_at)) == (State.CANCELLED, True)
    first.succeed({}, {})
    assert cancel_waiting(queue, "b", 1000) == []


def test_what_a_worker_takes_meanwhile_is_not_cancelled_behind_its_back(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [queue.submit(spec(f"{n}.mp4"), batch="b")[0].id for n in range(3)]
    build = cancelling._commands

    def slowly(*args: Any) -> Any:
        if not queue.redis.zcard(queue.leases_key):
            take(queue)
        return build(*args)

    monkeypatch.setattr(cancelling, "_commands", slowly)
    assert {record.id for record in cancel_waiting(queue, "b", 10)} == set(ids[1:])
    assert queue.records.get(ids[0]).state == State.RUNNING
