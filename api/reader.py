"""Reads jobs for coroutines.

What is asked for at one time is one call to Redis and takes no thread, as in ``api.submitter``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.async_redis import connect
from api.batcher import Batcher
from api.middleware.lookup import Lookup
from shoal.model.ids import is_job_id
from shoal.model.job import State
from shoal.model.record import Record, TimelineEvent
from shoal.model.share import Place
from shoal.queue.connection import redis_errors
from shoal.queue.forecast import Throughput, place_at, throughput_of
from shoal.queue.queue import JobQueue
from shoal.settings import Settings

THROUGHPUT_S = 1.0  # how old what a forecast is made from may be

Command = tuple[Any, ...]


class RecordReader:
    """``JobQueue.records`` and ``place_of`` for coroutines, with a connection of its own."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self._queue = queue
        self._redis = connect(settings)
        self._batcher: Batcher[Command, Any] = Batcher(self._execute)
        self._throughput: Lookup[Throughput] = Lookup(lambda _: throughput_of(queue), THROUGHPUT_S)

    async def close(self) -> None:
        await self._redis.aclose()

    async def record(self, job_id: str) -> Record:
        """
        Raises:
            JobNotFound, UnreadableRecord, RedisUnavailable
        """
        records, fields = self._queue.records, None
        if is_job_id(job_id):  # others ask at the same time: nothing strange goes along with them
            fields = await self._ask("HGETALL", records.key(job_id))
        return records.found(job_id, fields)

    async def timeline(self, job_id: str) -> list[TimelineEvent]:
        """What happened to a job, oldest first.

        Raises:
            JobNotFound, UnreadableRecord, RedisUnavailable
        """
        await self.record(job_id)
        records = self._queue.records
        entries = await self._ask("LRANGE", records.timeline_key(job_id), 0, -1)
        return records.events(job_id, entries)

    async def place(self, record: Record) -> Place | None:
        """As ``place_of``; when it starts is told by the workers of up to ``THROUGHPUT_S`` ago.

        Raises:
            RedisUnavailable
        """
        if record.state != State.QUEUED:
            return None
        ahead = await self._ask(*self._queue.line.ahead_command(record))
        if isinstance(ahead, Exception):
            with redis_errors():
                raise ahead
        return place_at(ahead, record, await self._throughput.get(""))

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
