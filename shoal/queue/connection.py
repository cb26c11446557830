"""The connection to Redis, and what its client raises in our words."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shoal.errors import InvalidSetting, RedisUnavailable
from shoal.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

# Of every connection. A Redis that hangs is one that is away. The client repeats nothing by itself:
# a reply that was lost does not tell whether the command was carried out.
SOCKET: dict[str, Any] = {
    "socket_connect_timeout": 5,
    "socket_timeout": 15,
    "socket_keepalive": True,
}

# Answers of a server that is there and cannot serve for now, and what to do about them.
OUTAGES = {
    "OOM": "Redis is out of memory: raise its 'maxmemory', or let it forget more: "
    "SHOAL_RETENTION_DAYS.",
    "MISCONF": "Redis cannot write to its disk, and so takes no changes: free space there; its own "
    "log has the cause.",
    "READONLY": "SHOAL_REDIS_URL leads to a replica, which takes no changes: it must lead to the "
    "primary.",
    "LOADING": "Redis is reading its data from disk after a start: wait for it.",
    "CLUSTERDOWN": "The cluster of Redis is incomplete: see 'cluster info'.",
    "MASTERDOWN": "The replica has lost its primary: see 'info replication'.",
    "NOREPLICAS": "Redis has fewer replicas than its 'min-replicas-to-write'.",
    "TRYAGAIN": "The cluster of Redis is moving keys: wait for it.",
    "BUSY": "A script keeps Redis busy: wait for it.",
    "UNBLOCKED": "Redis has changed its role: wait for it.",
}
_CLASSES: dict[type[redis.RedisError], str] = {  # whose text lacks the word
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.BusyLoadingError: "LOADING",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
}
# At the start, or after what the client puts before the error of one command of a pipeline.
_CODE = re.compile(rf"(?:^|caused error: )-?({'|'.join(OUTAGES)})\b")


def connect(settings: Settings, *, attempts_s: float = 0.0) -> Redis:
    """A connection to the configured Redis, waiting up to ``attempts_s`` seconds for it.

    Raises:
        InvalidSetting: SHOAL_REDIS_URL is no URL.
        RedisUnavailable: it does not answer.
    """
    try:
        connection = Redis.from_url(settings.redis_url, **SOCKET, retry=no_retry())
    except ValueError as error:  # its words may show the password
        raise InvalidSetting("SHOAL_REDIS_URL is not the URL of a Redis") from error
    wait_for_redis(connection.ping, attempts_s)
    return connection


def wait_for_redis(ask: Callable[[], T], attempts_s: float) -> T:
    """What ``ask`` gives once Redis serves it; asks for up to ``attempts_s`` seconds.

    Raises:
        RedisUnavailable
    """
    deadline = time.monotonic() + attempts_s
    waits = False
    while True:
        try:
            with redis_errors():
                return ask()
        except RedisUnavailable as error:
            if time.monotonic() >= deadline:
                raise
            if not waits:
                log.info("waiting up to %.0f s for Redis: %s", attempts_s, error)
                waits = True
            time.sleep(0.1)


def no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Name what a Redis client raises when the server is away, or cannot serve."""
    try:
        yield
    except redis.RedisError as error:
        if outage := outage_of(error):
            raise outage from error
        raise


def repeatable(write: Callable[[], T]) -> T:
    """Do once more what may be done twice, if the answer to it was lost.

    Raises:
        RedisUnavailable
    """
    try:
        with redis_errors():
            return write()
    except RedisUnavailable:
        with redis_errors():
            return write()


def outage_of(error: redis.RedisError) -> RedisUnavailable | None:
    """The outage that an error means; ``None`` for one that waiting does not mend."""
    if code := _outage_code(error):
        return RedisUnavailable(f"Redis cannot serve: {error}", hint=OUTAGES[code])
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        # A ConnectionError is also what a wrong password raises: its own words tell.
        return RedisUnavailable(f"Redis does not answer: {error}")
    return None


def _outage_code(error: redis.RedisError) -> str:
    for kind, code in _CLASSES.items():
        if isinstance(error, kind):
            return code
    found = _CODE.search(str(error)) if isinstance(error, redis.ResponseError) else None
    return found[1] if found else ""


def redis_time(connection: Redis) -> float:
    """The server's clock, in seconds; not inside the MULTI part of a transaction."""
    seconds, micros = connection.time()
    return float(seconds + micros / 1e6)
