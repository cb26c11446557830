"""A worker that was asked to drain learns of it whenever it wakes up."""

from __future__ import annotations

import pytest
from redis import Redis

from shoal.model.worker import WorkerInfo
from shoal.queue.workers import DRAIN_KEPT_S, announce, ask_to_drain, list_workers, withdraw

NAME = "shoal"


def worker(name: str) -> WorkerInfo:
    return WorkerInfo(name=name, host="h", pid=1, started_at=1.0)


def freeze(redis: Redis, name: str) -> None:
    """Its announcement lapses, and somebody looks at the list meanwhile."""
    redis.delete(f"{NAME}:worker:{name}")
    assert name not in [each.name for each in list_workers(redis, NAME)]


@pytest.mark.parametrize("times", [1, 3])
def test_one_that_was_frozen_past_its_lease_drains(redis: Redis, times: int) -> None:
    announce(redis, NAME, worker("a"), 60)
    ask_to_drain(redis, NAME, "a")
    for _ in range(times):
        freeze(redis, "a")
        assert announce(redis, NAME, worker("a"), 60)


def test_the_note_is_not_kept_for_ever(redis: Redis) -> None:
    announce(redis, NAME, worker("a"), 60)
    ask_to_drain(redis, NAME, "a")
    assert 0 < redis.ttl(f"{NAME}:drain:a") <= DRAIN_KEPT_S
    withdraw(redis, NAME, "a")
    assert not redis.keys("*drain*")
    assert not announce(redis, NAME, worker("a"), 60)
