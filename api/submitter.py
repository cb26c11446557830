"""Queues jobs from coroutines.

What is usual, new jobs or such as are known, takes no thread: threads that wait for Redis beside
a busy event loop cost more than all else that a submission is. And what comes in while Redis is
busy with a call goes with the next one, together: the busier, the less each costs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from starlette.concurrency import run_in_threadpool

from shoal import tracing
from shoal.creation import CREATE
from shoal.jobs import JobSpec
from shoal.queue import SOCKET_TIMEOUT_S, JobQueue, redis_errors
from shoal.records import Record
from shoal.settings import Settings

AT_ONCE = 100  # jobs in one call: Redis does nothing else meanwhile


class Wish(NamedTuple):
    """A job that somebody wants, and whom to tell of its end."""

    spec: JobSpec
    callback: str = ""


class _Waiting(NamedTuple):
    """A new record, and where what Redis has in its place is awaited."""

    new: Record
    found: asyncio.Future[list[Any]]


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
        self._create = self._redis.register_script(CREATE)
        self._waiting: deque[_Waiting] = deque()
        self._sending: asyncio.Task[None] | None = None

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
            found = await asyncio.gather(*map(self._send, new))
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

    def _send(self, new: Record) -> asyncio.Future[list[Any]]:
        waiting = _Waiting(new, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return waiting.found

    async def _send_all(self) -> None:
        """Call Redis, with all that waits each time, until nothing does."""
        try:
            while self._waiting:
                count = min(AT_ONCE, len(self._waiting))
                await self._send_some([self._waiting.popleft() for _ in range(count)])
        finally:
            self._sending = None

    async def _send_some(self, waiting: Sequence[_Waiting]) -> None:
        try:
            call = self._queue.creation.call([each.new for each in waiting])
            answers = await self._create(**call, client=None)
        except Exception as error:  # it is of those who wait
            for each in waiting:
                if not each.found.done():
                    each.found.set_exception(error)
            return
        for each, found in zip(waiting, answers, strict=True):
            if not each.found.done():  # as when who asked has gone
                each.found.set_result(found)
