"""Queues jobs from coroutines.

What is usual, a new job or one that is known, is one call to Redis and needs no thread: threads
that wait for Redis beside a busy event loop cost more than all else that a submission is.
"""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from starlette.concurrency import run_in_threadpool

from shoal.jobs import JobSpec
from shoal.queue import SOCKET_TIMEOUT_S, UNLESS_THERE, JobQueue, redis_errors
from shoal.records import Record
from shoal.settings import Settings


class Submitter:
    """``JobQueue.submit`` for coroutines, with connections of its own."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        self._redis = Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=5,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_keepalive=True,
            retry=Retry(ConstantBackoff(0.1), 1),
        )
        self._unless_there = self._redis.register_script(UNLESS_THERE)

    async def close(self) -> None:
        await self._redis.aclose()

    async def submit(
        self, spec: JobSpec, *, callback: str = "", again: bool = True
    ) -> tuple[Record, bool]:
        """As ``JobQueue.submit``.

        Raises:
            RedisUnavailable
        """
        new = self._queue.new(spec, callback)
        with redis_errors():
            found = await self._unless_there(**self._queue.creation(new), client=None)
        if answer := self._queue.answer(new, found, again):
            return answer
        return await run_in_threadpool(self._queue.submit, spec, callback=callback, again=again)
