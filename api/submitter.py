"""Queues jobs from coroutines.

What is usual, new jobs or such as are known, takes no thread: threads that wait for Redis beside
a busy event loop cost more than all else that a submission is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from api.async_redis import connect
from api.batcher import Batcher
from shoal import tracing
from shoal.errors import RedisUnavailable
from shoal.model.job import JobSpec
from shoal.model.record import Record
from shoal.model.share import DEFAULT, Share
from shoal.queue.connection import redis_errors
from shoal.queue.enqueue import COPY, CREATE, NewJob
from shoal.queue.queue import JobQueue
from shoal.settings import Settings

PING_S = 3.0


class SubmitRequest(NamedTuple):
    """A job that somebody wants, whom to tell of its end, and its place in the line.

    Attributes:
        may_be_copy: the video is an upload that may be a copy of a result.
    """

    spec: JobSpec
    callback: str = ""
    share: Share = DEFAULT
    may_be_copy: bool = False


class Submitter:
    """``JobQueue.submit`` for coroutines, with connections of its own."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        self._redis = connect(settings)
        self._script = self._redis.register_script(CREATE)
        self._batcher = Batcher(self._create)
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

    async def submit(self, request: SubmitRequest) -> tuple[Record, bool]:
        """As ``JobQueue.submit``.

        Raises:
            RedisUnavailable: the job may be queued, it will be if it is tried again.
        """
        new = self._new(request)
        with redis_errors(), tracing.span("submit", new.id):
            found = await self._batcher.put(NewJob(new))
            return await self._outcome(request, new, found, again=True)

    async def ingest(
        self, uploads: Sequence[SubmitRequest], sender: str
    ) -> list[tuple[Record, bool] | None]:
        """As ``submit``, of what a bucket announced, which may come again: no job that failed, was
        cancelled or deleted is queued once more.

        Returns:
            For each as ``submit``; ``None``: it is not queued, since it may be a copy of a result
            and is as large as one.

        Raises:
            RedisUnavailable: some may be queued, all will be if it is tried again.
        """
        jobs = [
            NewJob(self._new(each), again=False, is_upload=True, may_be_copy=each.may_be_copy)
            for each in uploads
        ]
        with ExitStack() as stack:
            stack.enter_context(redis_errors())
            for job in jobs:
                stack.enter_context(tracing.span("submit", job.record.id, sender=sender))
            answers = await asyncio.gather(*map(self._batcher.put, jobs))
            return [
                None
                if found == [COPY]
                else await self._outcome(upload, job.record, found, again=False)
                for upload, job, found in zip(uploads, jobs, answers, strict=True)
            ]

    def _new(self, request: SubmitRequest) -> Record:
        return self._queue.new(request.spec, request.callback, share=request.share)

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

    async def _create(self, new: Sequence[NewJob]) -> list[list[Any]]:
        """For each what there was in its place; where there was nothing it is written."""
        found: list[list[Any]] = await self._script(**self._queue.creation.call(new), client=None)
        return found
