"""From events to jobs: each upload is judged, queued or noted as skipped."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field, TypeAdapter
from redis import Redis
from starlette.concurrency import run_in_threadpool

from api.events.parsing import Event
from api.events.senders import Senders
from api.routes.metrics import INGESTED
from api.storage_calls import StorageCalls
from api.submitter import SubmitRequest, Submitter
from shoal.client.schemas import Receipt, Skipped, SkippedUpload
from shoal.errors import ShoalError, SourceNotFound, StorageForbidden
from shoal.ingest.decide import (
    Reason,
    Skip,
    UploadedObject,
    is_named_like_result,
    judge,
    lacks_metadata,
)
from shoal.ingest.rules import Rules
from shoal.ingest.rules_file import RulesFile
from shoal.model.job import JobSpec
from shoal.model.record import now, text
from shoal.queue.connection import repeatable
from shoal.queue.queue import JobQueue
from shoal.queue.unreadable import readable
from shoal.settings import Settings
from shoal.storage import storage_for

KEPT = 100
URI_CHARS = 1200

# Reasons and entries in turn, counted and kept once, however often this is called with one key.
NOTE = """
if not redis.call('SET', KEYS[3], '', 'NX', 'EX', 60) then return end
for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], 1)
  redis.call('LPUSH', KEYS[2], ARGV[i + 1])
end
redis.call('LTRIM', KEYS[2], 0, ARGV[1])
"""

_counted = TypeAdapter(Annotated[int, Field(ge=1, lt=1 << 63)])


class SkippedLog:
    """Uploads without a job: a count for each reason, and the last hundred of them."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self._counts = f"{namespace}:skipped:counts"
        self._last = f"{namespace}:skipped:last"

    def note(self, sender: str, skips: Iterable[Skip]) -> None:
        """
        Raises:
            RedisUnavailable
        """
        words: list[str] = []
        for skip in skips:
            entry = SkippedUpload(
                at=now(),
                sender=sender,
                uri=skip.uri[:URI_CHARS],
                reason=skip.reason,
                detail=skip.detail[:URI_CHARS],
            )
            words += (skip.reason, entry.model_dump_json())
        noted = f"{self._counts}:noted:{uuid.uuid4().hex}"
        keys = (self._counts, self._last, noted)
        repeatable(lambda: self.redis.eval(NOTE, len(keys), *keys, KEPT - 1, *words))

    def read(self) -> Skipped:
        counts = ((text(name), count) for name, count in self.redis.hgetall(self._counts).items())
        entries = (("", entry) for entry in self.redis.lrange(self._last, 0, -1))
        items = readable("skipped upload", entries, SkippedUpload.model_validate_json)
        return Skipped(
            counts=dict(readable("count", counts, _counted.validate_python)),
            items=[each for _, each in items],
        )


@dataclass
class _Message:
    """What of a message becomes no job."""

    skips: list[Skip] = field(default_factory=list)
    failed: ShoalError | None = None


class Inbox:
    """Where all senders deliver: checks them, judges what they announce, queues jobs."""

    def __init__(
        self,
        senders: Senders,
        rules: RulesFile,
        queue: JobQueue,
        submitter: Submitter,
        settings: Settings,
        storage: StorageCalls,
    ) -> None:
        self.senders = senders
        self._rules = rules
        self._skipped = SkippedLog(queue.redis, queue.name)
        self._submitter = submitter
        self._storage = storage
        self._settings = settings

    async def take(self, sender: str, events: Iterable[Event]) -> Receipt:
        """Queue a job for every upload that a rule wants. All are queued when this returns.

        Raises:
            RedisUnavailable, StorageUnavailable, StorageForbidden: nothing is lost if it comes
                again.
        """
        try:
            return await self._take(sender, events)
        except ShoalError as error:
            INGESTED.labels(sender, error.code).inc()
            raise

    async def _take(self, sender: str, events: Iterable[Event]) -> Receipt:
        rules, message = self._rules.current(), _Message()
        wanted = await self._wanted(message, events, rules)
        made = await self._submitter.ingest([request for _, request in wanted], sender)
        in_doubt = [upload for (upload, _), each in zip(wanted, made, strict=True) if not each]
        if in_doubt:
            wanted = await self._wanted(message, in_doubt, rules, ask=True)
            made += await self._submitter.ingest([request for _, request in wanted], sender)
        receipt = Receipt(skipped=len(message.skips))
        for record, queued in filter(None, made):
            receipt.jobs.append(record.id)
            receipt.queued += queued
            receipt.known += not queued
        if message.skips:
            await run_in_threadpool(self._skipped.note, sender, message.skips)
        self._count(sender, receipt, message.skips)
        if message.failed:
            raise message.failed
        return receipt

    async def _wanted(
        self, message: _Message, events: Iterable[Event], rules: Rules, *, ask: bool = False
    ) -> list[tuple[UploadedObject, SubmitRequest]]:
        """The uploads that become jobs; what of the others is noted in the message."""
        wanted = []
        for number, event in enumerate(events):
            if number:
                await asyncio.sleep(0)  # a message may have many: others get a turn between two
            if isinstance(event, Skip):
                message.skips.append(event)
                continue
            try:
                found = await self._judged(event, rules, ask)
            except ShoalError as error:  # the others of one message are not to wait for it
                message.failed = message.failed or error
                continue
            if isinstance(found, Skip):
                message.skips.append(found)
            else:
                wanted.append((event, found))
        return wanted

    @staticmethod
    def _count(sender: str, receipt: Receipt, skips: Iterable[Skip]) -> None:
        INGESTED.labels(sender, "queued").inc(receipt.queued)
        INGESTED.labels(sender, "known").inc(receipt.known)
        for skip in skips:
            INGESTED.labels(sender, skip.reason).inc()

    async def _judged(
        self, upload: UploadedObject, rules: Rules, ask: bool
    ) -> SubmitRequest | Skip:
        """The storage is asked only for what the sender left out, and only if a rule wants it.

        Metadata that was not told may say that this is a copy of a result. A request for every
        upload would cost more than all else that an event is. A copy is named like a result, or at
        least as large as its original: then it is asked for (``ask``) once that is found out.
        """
        found = judge(upload, rules, self._settings)
        if isinstance(found, Skip):
            return found
        is_known = bool(upload.version) and upload.size is not None
        may_be_copy = lacks_metadata(upload)
        if ask or not is_known or (may_be_copy and is_named_like_result(upload)):
            told = await self._told(upload, found, rules)
            if isinstance(told, Skip):
                return told
            found, may_be_copy = told, False
        return SubmitRequest(found, *rules.terms_of(found.uri), may_be_copy)

    async def _told(self, upload: UploadedObject, found: JobSpec, rules: Rules) -> JobSpec | Skip:
        """What an upload becomes by what its storage tells of it."""
        is_known = bool(upload.version) and upload.size is not None
        try:
            storage = storage_for(upload.uri, self._settings)
            info = await self._storage.run(upload.uri, storage.stat, upload.uri)
        except SourceNotFound:
            return Skip(upload.uri, Reason.GONE)
        except StorageForbidden:
            if is_known:  # the worker may read it; whether it is a copy of a result is not known
                return found
            raise
        told = UploadedObject.of(info)
        if is_known:  # the version that the event is about
            told = replace(upload, metadata=told.metadata)
        return judge(told, rules, self._settings)
