"""The queue of a module's own settings, for conftests whose tests share one server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings


@pytest.fixture(scope="module")
def redis(settings: Settings) -> Iterator[Redis]:
    connection = connect(settings)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def queue(settings: Settings, redis: Redis) -> JobQueue:
    return open_queue(settings, redis)
