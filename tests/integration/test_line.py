"""The line: priorities, turns of sources, limits, and workers of an earlier release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st
from redis import Redis

from shoal.model.job import JobSpec, State
from shoal.model.record import Record, text
from shoal.model.share import Level, Share
from shoal.queue.lease import Lease
from shoal.queue.line import LOW_EVERY
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from tests.serving import waiting

names = count()
Add = Callable[..., list[str]]


def spec(name: object) -> JobSpec:
    uri = f"file:///videos/{name}.mp4"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


@pytest.fixture
def add(queue: JobQueue) -> Add:
    """Queue some jobs of a source; gives their ids."""

    def submit(number: int, **share: object) -> list[str]:
        specs = [spec(next(names)) for _ in range(number)]
        assert queue.submit_new(specs, share=Share.model_validate(share)) == []
        return [each.id for each in specs]

    return submit


def taken(queue: JobQueue, most: int) -> list[str]:
    """The ids of the next jobs, as workers get them."""
    found = (queue.line.take() for _ in range(most))
    return [text(job_id) for job_id in found if job_id]


def sources(queue: JobQueue, ids: Iterable[str]) -> list[str]:
    return [record.share.source for record in queue.records.read_all(list(ids))]


def start(queue: JobQueue) -> Lease | None:
    ids = taken(queue, 1)
    return Lease.take(queue, ids[0], "gpu-1") if ids else None


def test_one_source_is_first_in_first_out(queue: JobQueue, add: Add) -> None:
    ids = add(5)
    assert taken(queue, 6) == ids
    assert taken(queue, 1) == []


def test_priorities_are_strict(queue: JobQueue, add: Add) -> None:
    low, normal = add(3, priority="low"), add(3, source="batch:b")
    high = add(3, priority="high", source="token:t")
    assert taken(queue, 9) == high + normal + low


def test_one_of_twenty_starts_is_a_low_one(queue: JobQueue, add: Add) -> None:
    low = set(add(10, priority="low", source="batch:l"))
    add(200, priority="high")
    order = [job_id in low for job_id in taken(queue, 210)]
    for first in range(0, 190, LOW_EVERY):
        assert sum(order[first : first + LOW_EVERY]) == 1
    assert sum(order) == 10


def test_a_low_job_owes_nothing_for_the_time_before_it_came(queue: JobQueue, add: Add) -> None:
    add(60)
    taken(queue, 40)
    (low,) = add(1, priority="low")
    assert low not in taken(queue, LOW_EVERY - 1)
    assert low in taken(queue, 1)


def test_a_single_video_does_not_wait_for_a_batch(queue: JobQueue, add: Add) -> None:
    add(500, source="batch:b")
    taken(queue, 100)
    (single,) = add(1, source="token:t")
    assert single in taken(queue, 2)


@hypothesis(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(weights=st.lists(st.integers(1, 9), min_size=2, max_size=5), most=st.integers(1, 60))
def test_sources_share_by_weight_at_any_moment(
    queue: JobQueue, add: Add, weights: list[int], most: int
) -> None:
    """No source is ever a whole turn of all behind its due, nor ahead of it."""
    queue.redis.flushall()
    for number, weight in enumerate(weights):
        add(most, source=f"batch:{number}", weight=weight)
    turns = Counter(sources(queue, taken(queue, most)))
    for number, weight in enumerate(weights):
        due = most * weight / sum(weights)
        assert abs(turns[f"batch:{number}"] - due) <= len(weights)


def test_a_source_that_was_away_gets_no_credit(queue: JobQueue, add: Add) -> None:
    add(200, source="batch:a")
    taken(queue, 100)
    add(50, source="batch:b")
    assert Counter(sources(queue, taken(queue, 40))) == {"batch:a": 20, "batch:b": 20}


def test_a_source_that_comes_back_for_each_job_gets_no_more_than_its_turn(
    queue: JobQueue, add: Add
) -> None:
    """Its list is empty after each start: that does not make it new."""
    add(100, source="batch:a")
    add(100, source="batch:z")
    turns: Counter[str] = Counter()
    for _ in range(60):
        if not queue.redis.llen(f"{queue.rq.key}:normal:token:m"):
            add(1, source="token:m")
        turns.update(sources(queue, taken(queue, 1)))
    assert all(19 <= turns[name] <= 21 for name in ("batch:a", "batch:z", "token:m"))


@hypothesis(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["", "batch:a", "rule:⚽ x", "token:t"]),
                st.sampled_from(list(Level)),
                st.integers(1, 3),
                st.integers(0, 2),
            ),
            st.sampled_from(["take", "cancel", "front", "give back", "succeed", "lose"]),
        ),
        max_size=40,
    )
)
def test_nothing_is_lost_or_doubled(queue: JobQueue, add: Add, steps: list[object]) -> None:
    """Whatever happens: each job that waits is in the line once, and is started in the end."""
    queue.redis.flushall()
    queued: list[str] = []
    leases: list[Lease] = []
    for step in steps:
        if isinstance(step, tuple):
            source, level, weight, most = step
            queued += add(1, source=source, priority=level, weight=weight, max_running=most)
        elif step == "take" and (lease := start(queue)):
            leases.append(lease)
        elif step in ("cancel", "front") and queued:
            if queue.records.get(queued[0]).state == State.QUEUED:
                change(queue, str(step), queued[0])
        elif leases and step == "give back":
            leases.pop().give_back()
        elif leases and step == "succeed":
            leases.pop().succeed({}, {})
        elif leases and step == "lose":
            queue.redis.zadd(queue.leases_key, {leases.pop().record.id: 1})
            Reaper(queue).sweep()
    states = {job_id: queue.records.get(job_id).state for job_id in queued}
    wanted = sorted(i for i, state in states.items() if state == State.QUEUED)
    assert sorted(waiting(queue)) == wanted
    while leases or any(state == State.QUEUED for state in states.values()):
        if lease := start(queue):
            leases.append(lease)
        else:
            leases.pop().succeed({}, {})
        states = {job_id: queue.records.get(job_id).state for job_id in queued}


def change(queue: JobQueue, step: str, job_id: str) -> None:
    if step == "cancel":
        queue.cancel(job_id)
    else:
        queue.prioritise(job_id, "front")


@pytest.mark.parametrize("share", [{}, {"source": "batch:b"}, {"priority": "low"}])
def test_what_goes_first_goes_first(queue: JobQueue, add: Add, share: dict[str, str]) -> None:
    mine = add(2, **share)
    add(2, priority="high", source="token:t")
    lease = start(queue)
    assert lease
    queue.prioritise(mine[1], "front")
    lease.give_back()
    assert queue.records.get(lease.record.id).priority == "front"
    assert taken(queue, 2) == [lease.record.id, mine[1]]


def test_the_priority_comes_back_when_a_job_has_started(queue: JobQueue, add: Add) -> None:
    (job_id,) = add(1, priority="low", source="rule:r")
    queue.prioritise(job_id, "front")
    lease = start(queue)
    assert lease
    assert lease.record.priority == "low"
    assert queue.records.get(job_id).priority == "low"


def test_a_higher_priority_moves_a_job_that_waits(queue: JobQueue) -> None:
    queue.submit(spec("first"), share=Share(source="batch:b"))
    waits = Share(source="batch:b", priority=Level.LOW)
    record, _ = queue.submit(spec("a"), share=waits)
    lower, queued = queue.submit(spec("a"), share=waits)
    assert (lower.share, queued) == (waits, False)
    urgent = Share(source="token:t", priority=Level.HIGH)
    raised, queued = queue.submit(spec("a"), share=urgent)
    assert (raised.share, raised.priority, queued) == (urgent, "high", False)
    assert taken(queue, 1) == [record.id]
    assert queue.submit(spec("a"), share=Share(priority=Level.LOW))[0].share == urgent


def test_no_more_run_than_a_source_may(queue: JobQueue, add: Add) -> None:
    limited = add(5, source="rule:r", max_running=2)
    other = add(2, source="batch:b")
    assert set(taken(queue, 10)) == {*limited[:2], *other}
    leases = [Lease.take(queue, job_id, "gpu-1") for job_id in limited[:2]]
    assert leases[0]
    assert leases[1]
    leases[0].succeed({}, {})
    assert taken(queue, 10) == [limited[2]]
    leases[1].give_back()  # it goes before the others of its source, and not beyond the limit
    assert taken(queue, 10) == [limited[1]]
    queue.untake(limited[2])
    assert taken(queue, 10) == [limited[2]]
    queue.cancel(limited[2])
    assert taken(queue, 10) == [limited[3]]


def test_the_place_of_a_vanished_worker_is_free_again(queue: JobQueue, add: Add) -> None:
    first, second = add(2, source="rule:r", max_running=1)
    lease = start(queue)
    assert lease
    assert start(queue) is None
    queue.redis.zadd(queue.leases_key, {first: 1})
    Reaper(queue).sweep()
    lease = start(queue)
    assert lease
    assert lease.record.id == first
    # A worker of an earlier release ends a job without saying so to the line.
    queue.redis.zrem(queue.leases_key, first)
    assert start(queue) is None
    Reaper(queue).sweep()
    lease = start(queue)
    assert lease
    assert lease.record.id == second


def test_the_forecast_is_the_number_of_starts_before(queue: JobQueue, add: Add) -> None:
    add(7, source="batch:a", weight=3)
    add(5, source="batch:b")
    add(3)
    add(2, priority="high", source="token:t")
    low = add(2, priority="low")
    queue.prioritise(add(1)[0], "front")
    records = queue.records.page(limit=200)[0]
    forecast = {r.id: queue.line.ahead(r) for r in records}
    order = taken(queue, len(records))
    for place, job_id in enumerate(order):
        if job_id not in low:  # they get every twentieth start at least
            assert abs(forecast[job_id] - place) <= 3
    assert forecast[order[0]] == 0
    assert all(forecast[job_id] < LOW_EVERY * (n + 1) for n, job_id in enumerate(low))


def test_a_worker_that_waits_is_woken(queue: JobQueue, add: Add) -> None:
    assert queue.line.take() is None
    ids = add(3, source="batch:b")
    assert [queue.line.take(5.0) for _ in ids] == [job_id.encode() for job_id in ids]
    assert queue.line.take(0.01) is None


# --- beside an earlier release, which knows one list ---------------------------------------------


def push_as_before(queue: JobQueue, redis: Redis, *, at_front: bool = False) -> Record:
    """A job that an earlier release queued: no share in its record, its id in the one list."""
    record = queue.submit(spec(next(names)))[0]
    pipe = redis.pipeline()
    queue.line.remove(pipe, record)
    (pipe.lpush if at_front else pipe.rpush)(queue.rq.key, record.id)
    pipe.execute()
    return record


def test_the_list_of_an_earlier_release_is_served(queue: JobQueue, redis: Redis, add: Add) -> None:
    old = [push_as_before(queue, redis).id for _ in range(10)]
    redis.delete(*(key for key in redis.keys("shoal:line*")))
    new = add(10, source="batch:b")
    order = taken(queue, 20)
    assert sorted(order) == sorted(old + new)
    assert sources(queue, order[:10]).count("batch:b") == 5
    assert [job_id for job_id in order if job_id in old] == old


def test_an_earlier_worker_and_a_new_one_lose_nothing_and_double_nothing(
    queue: JobQueue, redis: Redis, add: Add
) -> None:
    expected = [push_as_before(queue, redis).id for _ in range(6)]
    expected += add(6, source="batch:b") + add(6) + add(6, source="rule:r", max_running=3)
    transit = queue.rq.intermediate_queue_key
    started: list[str] = []
    for turn in range(60):
        is_earlier = turn % 3 == 0
        moved = redis.lmove(queue.rq.key, transit) if is_earlier else queue.line.take()
        if not moved:
            continue
        lease = Lease.take(queue, text(moved), "gpu-1")
        assert lease
        if turn % 7 == 0 and turn < 30:
            lease.give_back()
            continue
        started.append(lease.record.id)
        lease.succeed({}, {})
    assert sorted(started) == sorted(expected)


def test_what_an_earlier_reaper_brought_back_is_served(
    queue: JobQueue, redis: Redis, add: Add
) -> None:
    """It puts the id at the head of the one list, whatever its source."""
    ids = add(3, source="batch:b", max_running=1)
    lease = start(queue)
    assert lease
    record = queue.records.get(ids[0])
    pipe = redis.pipeline()
    queue.records.update(pipe, record, state=State.QUEUED, worker=None)
    pipe.zrem(queue.leases_key, record.id)
    pipe.lpush(queue.rq.key, record.id)
    pipe.execute()
    again = start(queue)
    assert again
    assert again.record.id == ids[0]
    again.succeed({}, {})
    assert taken(queue, 5) == [ids[1]]
