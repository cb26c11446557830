"""Clocks that go back or jump ahead: of Redis, of an API, of a worker."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from shoal.errors import AudioOnly
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import Progress
from shoal.queue import maintenance, webhooks
from shoal.queue.connection import redis_time
from shoal.queue.indexes import ENDED
from shoal.queue.maintenance import LEAST, SHARE, Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from shoal.queue.workers import unique_name
from tests.integration.test_queue import spec
from tests.serving import take
from worker.rq_mirror import RQMirror

MONTH_S = 31 * 24 * 3600


def ended(queue: JobQueue, count: int) -> None:
    for number in range(count):
        queue.cancel(queue.submit(spec(f"{number}.mp4"))[0].id)


def test_a_lease_ends_although_the_clock_of_redis_went_back(queue: JobQueue) -> None:
    lost = queue.submit(spec("lost.mp4"))[0].id
    take(queue)
    alive = queue.submit(spec("alive.mp4"))[0].id
    lease = take(queue)
    ahead = redis_time(queue.redis) + 3600  # what was 'in a moment' before
    queue.redis.zadd(queue.leases_key, {lost: ahead, alive: ahead})
    reaper = Reaper(queue)
    assert reaper.sweep() == []
    latest = redis_time(queue.redis) + queue.lease_s
    leases: Any = queue.redis.zrange(queue.leases_key, 0, -1, withscores=True)
    assert all(until <= latest for _, until in leases)
    for job_id in (lost, alive):  # a lease's time goes by
        queue.redis.zincrby(queue.leases_key, -queue.lease_s, job_id)
    lease.heartbeat(Progress())
    assert reaper.sweep() == [lost]
    assert queue.records.get(alive).state == State.RUNNING


def test_an_api_clock_that_is_a_month_ahead_forgets_nothing(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(queue, 3)
    ahead = time.time() + MONTH_S
    for module in (maintenance, webhooks):
        monkeypatch.setattr(module, "now", lambda: ahead, raising=False)
    Maintenance(queue, retention_days=30).run()
    assert queue.redis.zcard(queue.records.indexes.key(ENDED)) == 3


def test_a_clock_of_redis_that_is_a_month_ahead_forgets_a_share(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    count = 3 * LEAST
    ended(queue, count)
    keeper = Maintenance(queue, retention_days=30)
    monkeypatch.setattr(maintenance, "redis_time", lambda redis: redis_time(redis) + MONTH_S)
    gone = [job_id for _ in range(10) for job_id in keeper.forget_old()]
    assert len(gone) == max(LEAST, SHARE * count)
    assert caplog.text.count("is the clock of Redis right") == 1
    keeper._period_ends = 0.0  # the next period
    assert len(keeper.forget_old()) == LEAST


def test_samples_go_on_after_a_clock_was_ahead(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    Maintenance(queue, 0).run()
    with monkeypatch.context() as context:
        context.setattr(maintenance, "redis_time", lambda redis: redis_time(redis) + MONTH_S)
        Maintenance(queue, 0).run()
    keeper = Maintenance(queue, 0)
    keeper.run()
    monkeypatch.setattr(maintenance, "redis_time", lambda redis: redis_time(redis) + 60)
    keeper.run()
    minutes = [sample.at for sample in queue.records.totals.history(since=0)]
    assert minutes == sorted(set(minutes))
    assert minutes[-1] < time.time() + 120
    assert time.time() - 60 < minutes[-1]


def test_a_worker_whose_clock_is_ahead_drops_no_webhook_from_the_lists(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        queue.submit(spec(name), callback="https://example.com/")
    take(queue).succeed({}, {})
    ahead = time.time() + 3 * MONTH_S
    monkeypatch.setattr(webhooks, "now", lambda: ahead)
    take(queue).succeed({}, {})
    assert len(queue.callbacks.page(state=None, job="", limit=10, cursor="")[0]) == 2


def test_webhooks_that_have_lapsed_leave_the_lists(queue: JobQueue, redis: Redis) -> None:
    queue.submit(spec(), callback="https://example.com/")
    take(queue).succeed({}, {})
    (there,) = queue.callbacks.page(state=None, job="", limit=10, cursor="")[0]
    keys = [queue.callbacks.index_key(state) for state in (None, there.state)]
    for key in keys:
        redis.zadd(key, {"msg_" + "0" * 32: 1, there.id: 1})
    queue.callbacks.forget_old(time.time())
    for key in keys:
        assert redis.zrange(key, 0, -1) == [there.id.encode()]


@pytest.mark.parametrize("step", [-7200, 7200])
def test_a_worker_whose_clock_is_wrong_leaves_no_execution(
    step: int, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ's tables go by the worker's clock."""
    job_id = queue.submit(spec())[0].id
    lease = take(queue)
    mirror = RQMirror(queue, unique_name(), beat_s=1)
    real = time.time
    with monkeypatch.context() as context:
        context.setattr("rq.executions.current_timestamp", lambda: int(real() + step))
        context.setattr("rq.registry.current_timestamp", lambda: int(real() + step))
        mirror.start(job_id)
        Reaper(queue).sweep()  # it is at work: its entry stays
        assert queue.redis.zcard("rq:wip:shoal") == 1
        mirror.beat()
    lease.fail(Failure.of(AudioOnly("no picture")))  # and the worker is killed
    Reaper(queue).sweep()
    assert queue.redis.zcard("rq:wip:shoal") == 0
    assert queue.redis.keys("rq:execution*") == []
