"""Reads jobs for coroutines.

What is asked for at one time is one call to Redis and takes no thread, as in ``api.submitter``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.batcher import Batcher
from api.middleware.lookup import Lookup
from shoal.model.job import State
from shoal.model.record import Record, TimelineEvent
from shoal.model.share import Place
from shoal.queue.connection import SOCKET, redis_errors
from shoal.queue.forecast import Pace, pace_of, place_at
from shoal.queue.queue import JobQueue
from shoal.settings import Settings

PACE_S = 1.0  # how old the pace of the workers may be that a forecast is made from

Command = tuple[Any, ...]


class Reader:
    """``JobQueue.records`` and ``place_of`` for coroutines, with a connection of its own."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        retry = Retry(NoBackoff(), 0)  # as in shoal.queue.connection
        self._redis = Redis.from_url(settings.redis_url, **SOCKET, retry=retry)
        self._batcher: Batcher[Command, Any] = Batcher(self._execute)
        self._pace: Lookup[Pace] = Lookup(lambda _: pace_of(queue), PACE_S)

    async def close(self) -> None:
        await self._redis.aclose()

    async def record(self, job_id: str) -> Record:
        """
        Raises:
            JobNotFound, UnreadableRecord, RedisUnavailable
        """
        records = self._queue.records
        return records.found(job_id, await self._ask("HGETALL", records.key(job_id)))

    async def timeline(self, job_id: str) -> list[TimelineEvent]:
        """What happened to a job, oldest first.

        Raises:
            JobNotFound, UnreadableRecord, RedisUnavailable
        """
        records = self._queue.records
        _, entries = await asyncio.gather(
            self.record(job_id), self._ask("LRANGE", records.timeline_key(job_id), 0, -1)
        )
        return records.events(job_id, entries)

    async def place(self, record: Record) -> Place | None:
        """As ``place_of``; when it starts is told by the workers of up to ``PACE_S`` ago.

        Raises:
            RedisUnavailable
        """
        if record.state != State.QUEUED:
            return None
        ahead = await self._ask(*self._queue.line.ahead_command(record))
        if isinstance(ahead, Exception):
            with redis_errors():
                raise ahead
        return place_at(ahead, record, await self._pace.get(""))

    async def _ask(self, *command: Any) -> Any:
        """The answer to a command, or the error that Redis gives for one."""
        return await self._batcher.put(command)

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        with redis_errors():
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers
