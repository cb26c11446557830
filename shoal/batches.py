"""Batches: many videos with the same prompts, queued and followed as one.

A batch names its videos, or patterns of them. It is kept at once, and a thread of the API
(``api.expander``) looks the videos up, a page at a time, and queues a job for each. How far it has
come is kept with every page, so that any API process goes on where another one was killed.

Keys, below the queue's name: ``batch:<id>`` the batch as JSON, ``batch:<id>:uris`` those that are
still to be looked up, ``batch:<id>:totals`` sums (objects, skips, seconds of workers),
``batch:<id>:skips`` the last hundred objects without a job, ``batches`` a sorted set of ids by
time, ``batches:open`` of those with something to do. ``shoal.indexes`` has the jobs by state.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shoal.batch_wire import BatchRequest, BatchSkip, BatchState, BatchStatus, BatchWork
from shoal.errors import BatchNotFound, Failure, StateConflict
from shoal.indexes import Entry, batch_index, text
from shoal.jobs import State
from shoal.records import Progress, now
from shoal.totals import Totals
from shoal.workers import list_workers

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis.client import Pipeline

    from shoal.queue import JobQueue

SKIPS_KEPT = 100
WATCHED = 100  # running jobs whose progress is looked at for that of a batch


class Cursor(BaseModel):
    """How far the videos of a batch have been looked up: first the URIs, then glob by glob."""

    uris: int = 0
    glob: int = 0
    after: str = ""  # the last object that was looked at


class Batch(BaseModel):
    """What is kept of a batch. Times are seconds since the epoch."""

    id: str
    created_at: float
    work: BatchWork
    uris: int  # how many were given; they are kept apart
    cursor: Cursor = Cursor()
    expanded_at: float | None = None
    error: Failure | None = None  # why looking up stopped, or waits
    retry_asked_at: float | None = None
    cancel_asked_at: float | None = None
    cancelled_at: float | None = None

    @property
    def is_expanding(self) -> bool:
        stopped = self.error is not None and not self.error.transient
        return self.expanded_at is None and self.cancel_asked_at is None and not stopped

    @property
    def is_cancelling(self) -> bool:
        return self.cancel_asked_at is not None and self.cancelled_at is None

    @property
    def has_work(self) -> bool:
        """Whether there is something to do for the API."""
        return self.is_expanding or self.is_cancelling or self.retry_asked_at is not None


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

    def create(self, request: BatchRequest) -> Batch:
        batch = Batch(
            id=uuid.uuid4().hex[:24],
            created_at=now(),
            work=BatchWork.model_validate(request.model_dump(exclude={"uris"})),
            uris=len(request.uris),
        )
        pipe = self.redis.pipeline()
        pipe.set(self.key(batch.id), batch.model_dump_json(exclude_defaults=True))
        if request.uris:
            pipe.rpush(self.key(batch.id, "uris"), *request.uris)
        pipe.zadd(self.index_key, {batch.id: batch.created_at})
        pipe.zadd(self.open_key, {batch.id: batch.created_at})
        pipe.execute()
        return batch

    def get(self, batch_id: str) -> Batch:
        """
        Raises:
            BatchNotFound: no such batch, or it was forgotten with its jobs.
        """
        value = self.redis.get(self.key(batch_id))
        if value is None:
            raise BatchNotFound(f"no batch has the id {batch_id[:80]}")
        return Batch.model_validate_json(text(value))

    def page(self, *, limit: int, cursor: str = "") -> tuple[list[Batch], str]:
        """Newest first, and the cursor of the next page ("" at the end)."""
        last = Entry.parse(cursor) if cursor else None
        highest: Any = last.created_at if last else "+inf"
        # One more than wanted, and those of the same instant as the last page's end.
        found: Any = self.redis.zrevrangebyscore(
            self.index_key, highest, "-inf", start=0, num=2 * limit + 1, withscores=True
        )
        entries = [Entry(job_id=text(i), created_at=at) for i, at in found]
        if last:
            place = (last.created_at, last.job_id)
            entries = [entry for entry in entries if (entry.created_at, entry.job_id) < place]
        shown = entries[:limit]
        values: Any = self.redis.mget([self.key(each.job_id) for each in shown]) if shown else []
        items = [Batch.model_validate_json(text(value)) for value in values if value]
        return items, str(shown[-1]) if len(entries) > limit else ""

    def cancel(self, batch_id: str) -> Batch:
        """Have it queue no more, and all its jobs cancelled that have not ended."""

        def ask(batch: Batch) -> Batch:
            if batch.cancel_asked_at is not None:
                return batch
            return batch.model_copy(update={"cancel_asked_at": now(), "retry_asked_at": None})

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
        return [BatchSkip.model_validate_json(text(entry)) for entry in entries]

    def status(self, batch: Batch) -> BatchStatus:
        """How far it is: a fixed number of reads, however many videos it has."""
        indexes = self.queue.records.indexes
        own = batch_index(batch.id)
        videos, *by_state = indexes.counts([own, *(f"{own}:{state}" for state in State)])
        counts = dict(zip(State, by_state, strict=True))
        totals = self._totals(batch.id).read()
        under_way = self._under_way(batch.id) if counts[State.RUNNING] else 0.0
        left = counts[State.QUEUED] + counts[State.RUNNING] - under_way
        return BatchStatus(
            **batch.work.model_dump(),
            id=batch.id,
            uris=batch.uris,
            created_at=batch.created_at,
            state=_state(batch, counts),
            objects_seen=int(totals.get("objects", 0)),
            videos=videos,
            counts=counts,
            failures=indexes.by_cause(own) if counts[State.FAILED] else {},
            skipped=_below(totals, "skipped:"),
            rejected=_below(totals, "rejected:"),
            progress=round(1 - left / videos, 4) if videos else 0.0,
            gpu_seconds=round(_sum(totals, "seconds:"), 1),
            cost=round(_sum(totals, "cost:"), 4),
            wasted_seconds=round(totals.get("wasted:seconds", 0.0), 1),
            wasted_cost=round(totals.get("wasted:cost", 0.0), 4),
            eta_s=None if batch.is_expanding else self._eta(totals, left),
            error=batch.error,
        )

    def _under_way(self, batch_id: str) -> float:
        """How much of the running jobs is done, in jobs."""
        key = self.queue.records.indexes.key(f"{batch_index(batch_id)}:{State.RUNNING}")
        ids: Any = self.redis.zrange(key, 0, WATCHED - 1)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hget(self.queue.records.key(text(job_id)), "progress")
        done = 0.0
        for value in filter(None, pipe.execute()):
            progress = Progress.model_validate_json(text(value))
            if progress.frames_expected:
                done += min(1.0, progress.frames / progress.frames_expected)
        return done

    def _eta(self, totals: dict[str, float], left: float) -> float | None:
        if not left:
            return 0.0
        done = totals.get("attempts:succeeded", 0)
        workers = len(list_workers(self.redis, self.namespace))
        if not done or not workers:
            return None
        return round(left * totals.get("seconds:succeeded", 0.0) / done / workers, 1)

    # --- what the API's thread does --------------------------------------------------------------

    def open(self) -> list[str]:
        """Batches with something to do, oldest first."""
        return [text(batch_id) for batch_id in self.redis.zrange(self.open_key, 0, -1)]

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
            value = pipe.get(self.key(batch_id))
            if value is None:
                raise BatchNotFound(f"no batch has the id {batch_id[:80]}")
            current = Batch.model_validate_json(text(value))
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
            pipe = self.redis.pipeline()
            pipe.delete(*(self.key(batch_id, part) for part in ("", "uris", "totals", "skips")))
            pipe.zrem(self.index_key, batch_id)
            pipe.execute()

    def _totals(self, batch_id: str) -> Totals:
        return Totals(self.redis, self.key(batch_id))


def _state(batch: Batch, counts: dict[State, int]) -> BatchState:
    if batch.cancel_asked_at is not None:
        return BatchState.CANCELLING if batch.is_cancelling else BatchState.CANCELLED
    if batch.is_expanding:
        return BatchState.EXPANDING
    if counts[State.QUEUED] + counts[State.RUNNING] or batch.retry_asked_at is not None:
        return BatchState.RUNNING
    return BatchState.FINISHED if batch.expanded_at is not None else BatchState.STOPPED


def _sum(totals: dict[str, float], prefix: str) -> float:
    return sum(n for name, n in totals.items() if name.startswith(prefix))


def _below(totals: dict[str, float], prefix: str) -> dict[str, int]:
    """Counts whose names begin so, the greatest first."""
    found = {k.removeprefix(prefix): int(n) for k, n in totals.items() if k.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
