"""From events to jobs: each upload is judged, queued or noted as skipped."""

from __future__ import annotations

import json
from collections.abc import Iterable

from redis import Redis
from starlette.concurrency import run_in_threadpool

from api.events.parsing import Event
from api.events.senders import Senders
from api.metrics import INGESTED
from api.submitter import Submitter, Wish
from shoal.errors import ShoalError, SourceNotFound
from shoal.intake import Reason, Skip, Upload, judge
from shoal.jobs import JobSpec
from shoal.queue import JobQueue, redis_errors
from shoal.records import now, text
from shoal.rules import Rules
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.wire import Receipt, Skipped, SkippedUpload

KEPT = 100
URI_CHARS = 1200


class SkippedLog:
    """Uploads without a job: a count for each reason, and the last hundred of them."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self._counts = f"{namespace}:skipped:counts"
        self._last = f"{namespace}:skipped:last"

    def note(self, sender: str, skips: Iterable[Skip]) -> None:
        pipe = self.redis.pipeline()
        for skip in skips:
            entry = SkippedUpload(
                at=now(),
                sender=sender,
                uri=skip.uri[:URI_CHARS],
                reason=skip.reason,
                detail=skip.detail[:URI_CHARS],
            )
            pipe.hincrby(self._counts, skip.reason, 1)
            pipe.lpush(self._last, entry.model_dump_json())
        pipe.ltrim(self._last, 0, KEPT - 1)
        pipe.execute()

    def read(self) -> Skipped:
        counts = {
            text(name): int(count) for name, count in self.redis.hgetall(self._counts).items()
        }
        entries = self.redis.lrange(self._last, 0, -1)
        return Skipped(counts=counts, items=[json.loads(entry) for entry in entries])


class Inbox:
    """Where all senders deliver: checks them, judges what they announce, queues jobs."""

    def __init__(
        self,
        senders: Senders,
        rules: RulesFile,
        queue: JobQueue,
        submitter: Submitter,
        settings: Settings,
    ) -> None:
        self.senders = senders
        self._rules = rules
        self._skipped = SkippedLog(queue.redis, queue.name)
        self._submitter = submitter
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
        rules = self._rules.current()
        wishes, skips = [], []
        failed: ShoalError | None = None
        for event in events:
            try:
                found = event if isinstance(event, Skip) else await self._judged(event, rules)
            except ShoalError as error:  # the others of one message are not to wait for it
                failed = failed or error
                continue
            if isinstance(found, Skip):
                skips.append(found)
            else:
                wishes.append(Wish(found, rules.callback_of(found.uri)))
        receipt = Receipt(skipped=len(skips))
        for record, queued in await self._submitter.submit(wishes, again=False, sender=sender):
            receipt.jobs.append(record.id)
            receipt.queued += queued
            receipt.known += not queued
        if skips:
            with redis_errors():
                await run_in_threadpool(self._skipped.note, sender, skips)
        self._count(sender, receipt, skips)
        if failed:
            raise failed
        return receipt

    @staticmethod
    def _count(sender: str, receipt: Receipt, skips: Iterable[Skip]) -> None:
        INGESTED.labels(sender, "queued").inc(receipt.queued)
        INGESTED.labels(sender, "known").inc(receipt.known)
        for skip in skips:
            INGESTED.labels(sender, skip.reason).inc()

    async def _judged(self, upload: Upload, rules: Rules) -> JobSpec | Skip:
        """The storage is asked only for what the sender left out, and only if a rule wants it."""
        found = judge(upload, rules, self._settings)
        if isinstance(found, Skip) or (upload.version and upload.size is not None):
            return found
        try:
            storage = storage_for(upload.uri, self._settings)
            info = await run_in_threadpool(storage.stat, upload.uri)
        except SourceNotFound:
            return Skip(upload.uri, Reason.GONE)
        return judge(Upload.of(info), rules, self._settings)
