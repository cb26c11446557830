"""Redis for coroutines. A module of its own, because only the API has any."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shoal.queue.connection import SOCKET
from shoal.settings import Settings


def connect(settings: Settings) -> Redis:
    """A client that repeats nothing, as those of ``shoal.queue.connection``."""
    return Redis.from_url(settings.redis_url, **SOCKET, retry=Retry(NoBackoff(), 0))
