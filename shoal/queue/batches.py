"""Batches: many videos with the same prompts, queued and followed as one.

A batch names its videos, or patterns of them. It is kept at once, and a thread of the API
(``api.background.batch_runner``) looks the videos up, a page at a time, and queues a job for each.
How far it has come is kept with every page, so that any API process goes on
where another one was killed.

Keys, below the queue's name: ``batch:<id>`` the batch as JSON, ``batch:<id>:uris`` those that are
still to be looked up, ``batch:<id>:totals`` sums (objects, skips, seconds of workers),
``batch:<id>:skips`` the last hundred objects without a job, ``batches`` a sorted set of ids by
time, ``batches:open`` of those with something to do. ``shoal.queue.indexes`` has the jobs by state.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from redis.client import Pipeline

from shoal.errors import BatchNotFound, StateConflict
from shoal.model.batch import (
    Batch,
    BatchRequest,
    BatchSkip,
    BatchState,
    BatchStatus,
    BatchWork,
    Cursor,
)
from shoal.model.filter import batch_index
from shoal.model.ids import is_job_id
from shoal.model.record import VERSION, check_version, now, text
from shoal.queue.batch_status import read_state, read_status
from shoal.queue.connection import repeatable
from shoal.queue.indexes import IndexEntry
from shoal.queue.queue import JobQueue
from shoal.queue.stats import Stats
from shoal.queue.unreadable import parsed, readable

SKIPS_KEPT = 100


class Batches:
    """Keeps batches, and says how far they are."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.redis = queue.redis
        self.namespace = queue.name
        self.index_key = f"{queue.name}:batches"
        self.open_key = f"{queue.name}:batches:open"

    def key(self, batch_id: str, part: str = "") -> str:
        return f"{self.namespace}:batch:{batch_id}" + (part and f":{part}")

    # --- what users do ---------------------------------------------------------------------------

    def create(self, request: BatchRequest, owner: str = "") -> Batch:
        """
        Raises:
            RedisUnavailable
        """
        batch = Batch(
            id=uuid.uuid4().hex[:24],
            version=VERSION,
            created_at=now(),
            work=BatchWork.model_validate(request.model_dump(exclude={"uris"})),
            uris=len(request.uris),
            owner=owner,
        )
        repeatable(lambda: self._write_new(batch, request.uris))
        return batch

    def _write_new(self, batch: Batch, uris: Sequence[str]) -> None:
        pipe = self.redis.pipeline()
        pipe.set(self.key(batch.id), batch.model_dump_json(exclude_defaults=True))
        pipe.delete(self.key(batch.id, "uris"))
        if uris:
            pipe.rpush(self.key(batch.id, "uris"), *uris)
        pipe.zadd(self.index_key, {batch.id: batch.created_at})
        pipe.zadd(self.open_key, {batch.id: batch.created_at})
        pipe.execute()

    def get(self, batch_id: str) -> Batch:
        """
        Raises:
            BatchNotFound: no such batch, or it was forgotten with its jobs.
        """
        value = self.redis.get(self.key(batch_id)) if is_job_id(batch_id) else None
        if value is None:
            raise BatchNotFound(f"no batch has the id {batch_id[:80]!r}")
        return parsed("batch", batch_id, _parse, value)

    def page(self, *, limit: int, cursor: str = "") -> tuple[list[Batch], str]:
        """Newest first, and the cursor of the next page ("" at the end)."""
        last = IndexEntry.parse(cursor) if cursor else None
        highest: Any = last.created_at if last else "+inf"
        # One more than wanted, and those of the same instant as the last page's end.
        found: Any = self.redis.zrevrangebyscore(
            self.index_key, highest, "-inf", start=0, num=2 * limit + 1, withscores=True
        )
        entries = [IndexEntry(job_id=text(i), created_at=at) for i, at in found]
        if last:
            place = (last.created_at, last.job_id)
            entries = [entry for entry in entries if (entry.created_at, entry.job_id) < place]
        shown = entries[:limit]
        values: Any = self.redis.mget([self.key(each.job_id) for each in shown]) if shown else []
        there = ((e.job_id, value) for e, value in zip(shown, values, strict=True) if value)
        found_batches = readable("batch", there, _parse)
        items = [batch for _, batch in found_batches]
        return items, str(shown[-1]) if len(entries) > limit else ""

    def cancel(self, batch_id: str) -> Batch:
        """Have it queue no more, and all its jobs cancelled that have not ended.

        Raises:
            BatchNotFound
            StateConflict: it has finished.
        """

        def ask(batch: Batch) -> Batch:
            if batch.cancel_asked_at is not None:
                return batch
            if read_state(self.queue, batch) is BatchState.FINISHED:
                raise StateConflict(
                    "the batch has finished: there is nothing to cancel",
                    hint="Its results stay; 'shoal batch retry' queues what failed again.",
                )
            return batch.model_copy(update={"cancel_asked_at": now(), "retry_asked_at": None})

        return self.change(batch_id, ask)

    def delete(self, batch_id: str) -> Batch:
        """Have it and its jobs deleted; those that have not ended are cancelled first."""

        def ask(batch: Batch) -> Batch:
            at = now()
            asked = {"cancel_asked_at": batch.cancel_asked_at or at, "retry_asked_at": None}
            return batch.model_copy(update=asked | {"delete_asked_at": batch.delete_asked_at or at})

        return self.change(batch_id, ask)

    def retry(self, batch_id: str) -> Batch:
        """Have its failed jobs queued again, and go on looking up where an error stopped that.

        Raises:
            BatchNotFound
            StateConflict: it was cancelled.
        """

        def ask(batch: Batch) -> Batch:
            if batch.cancel_asked_at is not None:
                raise StateConflict(
                    "the batch was cancelled: its videos are not retried",
                    hint="Submit it again: what is done is not done twice.",
                )
            return batch.model_copy(update={"retry_asked_at": now(), "error": None})

        return self.change(batch_id, ask)

    def skips(self, batch_id: str) -> list[BatchSkip]:
        self.get(batch_id)
        entries = self.redis.lrange(self.key(batch_id, "skips"), 0, -1)
        named = ((batch_id, entry) for entry in entries)
        return [each for _, each in readable("skip of batch", named, BatchSkip.model_validate_json)]

    def status(self, batch: Batch) -> BatchStatus:
        """How far it is: a fixed number of reads, however many videos it has."""
        return read_status(self.queue, batch, self._totals(batch.id).read())

    # --- what the API's thread does --------------------------------------------------------------

    def open(self) -> list[str]:
        """Batches with something to do, oldest first."""
        return [text(batch_id) for batch_id in self.redis.zrange(self.open_key, 0, -1)]

    def set_aside(self, batch_id: str) -> None:
        """Do no more for a batch that cannot be read; what there is of it stays."""
        self.redis.zrem(self.open_key, batch_id)

    def uris(self, batch: Batch, limit: int) -> list[str]:
        """The next ones to look up."""
        first = batch.cursor.uris
        found: Any = self.redis.lrange(self.key(batch.id, "uris"), first, first + limit - 1)
        return [text(uri) for uri in found]

    def advance(
        self,
        batch: Batch,
        cursor: Cursor,
        *,
        seen: int,
        skipped: Sequence[BatchSkip] = (),
        rejected: Sequence[BatchSkip] = (),
    ) -> Batch:
        """Keep that a page was looked at, unless another process has done so: counts are exact."""

        def move(current: Batch) -> Batch:
            if current.cursor != batch.cursor:
                return current
            return current.model_copy(update={"cursor": cursor, "error": None})

        def note(pipe: Pipeline) -> None:
            totals = self._totals(batch.id)
            totals.add(pipe, "objects", seen)
            for kind, items in (("skipped", skipped), ("rejected", rejected)):
                for reason, count in Counter(item.reason for item in items).items():
                    totals.add(pipe, f"{kind}:{reason}", count)
                for item in items[-SKIPS_KEPT:]:
                    pipe.lpush(self.key(batch.id, "skips"), item.model_dump_json())
            pipe.ltrim(self.key(batch.id, "skips"), 0, SKIPS_KEPT - 1)

        return self.change(batch.id, move, note)

    def change(
        self,
        batch_id: str,
        update: Callable[[Batch], Batch],
        note: Callable[[Pipeline], None] = lambda pipe: None,
    ) -> Batch:
        """Write what ``update`` makes of a batch, and whether it has something to do.

        Args:
            note: writes more in the same transaction, if the batch is changed.

        Raises:
            BatchNotFound
        """

        def transaction(pipe: Pipeline) -> Batch:
            value = pipe.get(self.key(batch_id)) if is_job_id(batch_id) else None
            if value is None:
                raise BatchNotFound(f"no batch has the id {batch_id[:80]!r}")
            current = parsed("batch", batch_id, _parse, value)
            changed = update(current)
            pipe.multi()
            if changed != current:
                pipe.set(self.key(batch_id), changed.model_dump_json(exclude_defaults=True))
                note(pipe)
            if changed.has_work:
                pipe.zadd(self.open_key, {batch_id: changed.created_at})
            else:
                pipe.zrem(self.open_key, batch_id)
            if not changed.is_expanding and changed.error is None:
                pipe.delete(self.key(batch_id, "uris"))
            return changed

        run: Any = self.redis.transaction  # typed for functions that give nothing back
        changed: Batch = run(transaction, self.key(batch_id), value_from_callable=True)
        return changed

    def forget_old(self, before: float, limit: int) -> None:
        """Forget batches from before a time whose jobs are all forgotten."""
        found: Any = self.redis.zrangebyscore(self.index_key, "-inf", before, start=0, num=limit)
        for batch_id in map(text, found):
            jobs = self.queue.records.indexes.key(batch_index(batch_id))
            if self.redis.exists(jobs) or self.redis.zscore(self.open_key, batch_id) is not None:
                continue
            self.forget(batch_id)

    def forget(self, batch_id: str) -> None:
        """Remove a batch; its jobs are the caller's."""
        pipe = self.redis.pipeline()
        pipe.delete(*(self.key(batch_id, part) for part in ("", "uris", "totals", "skips")))
        pipe.zrem(self.index_key, batch_id)
        pipe.zrem(self.open_key, batch_id)
        pipe.execute()

    def _totals(self, batch_id: str) -> Stats:
        return Stats(self.redis, self.key(batch_id))


def _parse(value: bytes) -> Batch:
    """
    Raises:
        ValueError
    """
    batch = Batch.model_validate_json(value)
    check_version(batch.version)
    return batch
