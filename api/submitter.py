"""Queues jobs from coroutines.

What is usual, new jobs or such as are known, takes no thread: threads that wait for Redis beside
a busy event loop cost more than all else that a submission is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from starlette.concurrency import run_in_threadpool

from api.together import Together
from shoal import tracing
from shoal.creation import CREATE
from shoal.jobs import JobSpec
from shoal.queue import SOCKET, JobQueue, redis_errors
from shoal.records import Record
from shoal.settings import Settings


class Wish(NamedTuple):
    """A job that somebody wants, and whom to tell of its end."""

    spec: JobSpec
    callback: str = ""


class Submitter:
    """``JobQueue.submit`` for coroutines, with connections of its own."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        retry = Retry(ConstantBackoff(0.1), 1)
        self._redis = Redis.from_url(settings.redis_url, **SOCKET, retry=retry)
        self._script = self._redis.register_script(CREATE)
        self._together = Together(self._create)

    async def close(self) -> None:
        await self._redis.aclose()

    async def submit(
        self, wishes: Sequence[Wish], *, again: bool = True, **labels: str
    ) -> list[tuple[Record, bool]]:
        """As ``JobQueue.submit``, for several jobs.

        Args:
            labels: of the traces' spans.

        Raises:
            RedisUnavailable: some may be queued, all will be if it is tried again.
        """
        new = [self._queue.new(wish.spec, wish.callback) for wish in wishes]
        with ExitStack() as stack:
            stack.enter_context(redis_errors())
            for record in new:
                stack.enter_context(tracing.span("submit", record.id, **labels))
            found = await asyncio.gather(*map(self._together.put, new))
            return [
                await self._outcome(*each, again) for each in zip(wishes, new, found, strict=True)
            ]

    async def _outcome(
        self, wish: Wish, new: Record, found: list[Any], again: bool
    ) -> tuple[Record, bool]:
        if answer := self._queue.creation.answer(new, found, again):
            return answer
        return await run_in_threadpool(
            self._queue.submit, wish.spec, callback=wish.callback, again=again
        )

    async def _create(self, new: Sequence[Record]) -> list[list[Any]]:
        """For each record what there was in its place; where there was nothing it is written."""
        found: list[list[Any]] = await self._script(**self._queue.creation.call(new), client=None)
        return found
