"""Queues jobs from coroutines.

What is usual, new jobs or such as are known, takes no thread: threads that wait for Redis beside
a busy event loop cost more than all else that a submission is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.concurrency import run_in_threadpool

from api.batcher import Batcher
from shoal import tracing
from shoal.errors import RedisUnavailable
from shoal.model.job import JobSpec
from shoal.model.record import Record
from shoal.model.share import DEFAULT, Share
from shoal.queue import result_sizes
from shoal.queue.connection import SOCKET, redis_errors
from shoal.queue.enqueue import CREATE
from shoal.queue.queue import JobQueue
from shoal.settings import Settings

PING_S = 3.0


class SubmitRequest(NamedTuple):
    """A job that somebody wants, whom to tell of its end, and its place in the line."""

    spec: JobSpec
    callback: str = ""
    share: Share = DEFAULT


class Submitter:
    """``JobQueue.submit`` for coroutines, with connections of its own."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        retry = Retry(NoBackoff(), 0)  # as in shoal.queue.connection
        self._redis = Redis.from_url(settings.redis_url, **SOCKET, retry=retry)
        self._script = self._redis.register_script(CREATE)
        self._batcher = Batcher(self._create)
        self._sizes: Batcher[int, bool] = Batcher(self._are_result_sizes)
        self._pings: Batcher[None, bool] = Batcher(self._ping)
        self._probes: Batcher[None, bool] = Batcher(self._probe)

    async def close(self) -> None:
        await self._redis.aclose()

    async def ping(self) -> None:
        """Anyone may ask this, any number of times: all share one question and take no thread.

        Raises:
            RedisUnavailable: Redis does not answer, or not in ``PING_S`` seconds.
        """
        await self._pings.put(None)

    async def probe(self) -> None:
        """As ``ping``, and Redis takes changes: one whose memory or disk is full answers too.

        Raises:
            RedisUnavailable
        """
        await self._probes.put(None)

    async def is_result_size(self, size: int | None) -> bool:
        """Whether a video among the results of any job has so many bytes.

        Raises:
            RedisUnavailable
        """
        return await self._sizes.put(size or 0)

    async def submit(
        self, requests: Sequence[SubmitRequest], *, again: bool = True, **labels: str
    ) -> list[tuple[Record, bool]]:
        """As ``JobQueue.submit``, for several jobs.

        Args:
            labels: of the traces' spans.

        Raises:
            RedisUnavailable: some may be queued, all will be if it is tried again.
        """
        new = [
            self._queue.new(request.spec, request.callback, share=request.share)
            for request in requests
        ]
        with ExitStack() as stack:
            stack.enter_context(redis_errors())
            for record in new:
                stack.enter_context(tracing.span("submit", record.id, **labels))
            found = await asyncio.gather(*(self._batcher.put((each, again)) for each in new))
            return [
                await self._outcome(*each, again) for each in zip(requests, new, found, strict=True)
            ]

    async def _outcome(
        self, request: SubmitRequest, new: Record, found: list[Any], again: bool
    ) -> tuple[Record, bool]:
        if answer := self._queue.creation.answer(new, found, again):
            return answer
        return await run_in_threadpool(
            self._queue.submit,
            request.spec,
            callback=request.callback,
            again=again,
            share=request.share,
        )

    async def _ping(self, asked: Sequence[None]) -> list[bool]:
        return await self._answered(self._redis.ping(), asked)

    async def _probe(self, asked: Sequence[None]) -> list[bool]:
        write = self._redis.set(f"{self._queue.name}:probe", "", ex=60)
        return await self._answered(write, asked)

    async def _answered(self, answer: Awaitable[Any], asked: Sequence[None]) -> list[bool]:
        try:
            with redis_errors():
                async with asyncio.timeout(PING_S):
                    await answer
        except TimeoutError as error:
            raise RedisUnavailable(f"Redis does not answer within {PING_S:g} s") from error
        return [True] * len(asked)

    async def _are_result_sizes(self, sizes: Sequence[int]) -> list[bool]:
        with redis_errors():
            command = result_sizes.query(self._queue.name, sizes)
            execute: Any = self._redis.execute_command  # untyped
            found = await execute(*command)
        return [bool(each) for each in found]

    async def _create(self, asked: Sequence[tuple[Record, bool]]) -> list[list[Any]]:
        """For each record what there was in its place; where there was nothing it is written."""
        new, again = zip(*asked, strict=True)
        call = self._queue.creation.call(new, again)
        found: list[list[Any]] = await self._script(**call, client=None)
        return found
