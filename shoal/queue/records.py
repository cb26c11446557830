"""The record of a job (a Redis hash that API and worker write field by field) and its timeline.

Keys, below the queue's name: ``job:<id>`` the record, ``timeline:<id>`` a capped list,
``attempts:<id>`` a capped list of how each attempt went. ``shoal.queue.indexes`` has the lists of
jobs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.errors import JobNotFound
from shoal.model.failure import Failure
from shoal.model.filter import ALL, Filter
from shoal.model.ids import is_job_id
from shoal.model.job import State
from shoal.model.record import (
    _DEFAULTS,
    AttemptRecord,
    Record,
    Spent,
    TimelineEvent,
    _compact,
    encode_field,
    now,
    text as text,
)
from shoal.queue.indexes import BLOCK, ENDED, SEGMENTS, Indexes
from shoal.queue.source_links import SourceLinks
from shoal.queue.stats import Stats
from shoal.queue.unreadable import parsed, readable

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

T = TypeVar("T")

TIMELINE_LENGTH = 1000  # a job of hours has a part each minute
ATTEMPTS_KEPT = 20
# Fields that decide what lists a job is in.
INDEXED = frozenset(("state", "worker", "error", "batches", "share"))
STILL = {"stage": "", "fps": 0.0, "moved_at": 0.0}  # progress when nobody is at work
INTERRUPTED = ("preempted", "lost")  # outcomes of an attempt whose machine was taken away
TEXT_SCAN = 2_000  # jobs looked at for one page of a text search
INDEX_SCAN = 20_000  # the same where only indexes are asked


class Records:
    """Reads records, and writes them inside a caller's transaction."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace
        self.indexes = Indexes(redis, namespace)
        self.totals = Stats(redis, namespace)
        self.links = SourceLinks(redis, namespace)

    def key(self, job_id: str) -> str:
        return f"{self.namespace}:job:{job_id}"

    @property
    def splits_key(self) -> str:
        """Set: IDs of the jobs that wait for their segments; see ``shoal.queue.split``."""
        return f"{self.namespace}:splits"

    def timeline_key(self, job_id: str) -> str:
        return f"{self.namespace}:timeline:{job_id}"

    def attempts_key(self, job_id: str) -> str:
        return f"{self.namespace}:attempts:{job_id}"

    def find(self, job_id: str) -> Record | None:
        """The record of a job; there is none of what is not the id of one.

        Raises:
            UnreadableRecord
        """
        return self.parsed(job_id, self._fields(job_id))

    @staticmethod
    def parsed(job_id: str, fields: Any) -> Record | None:
        """A record of what Redis answers; ``None`` where there is none.

        Raises:
            UnreadableRecord
        """
        return parsed("job", job_id, Record.from_fields, fields) if fields else None

    def get(self, job_id: str) -> Record:
        """
        Raises:
            JobNotFound: no such job.
            UnreadableRecord
        """
        return self.found(job_id, self._fields(job_id))

    def found(self, job_id: str, fields: Any) -> Record:
        """As ``get``, of what Redis answers to HGETALL."""
        record = self.parsed(job_id, fields)
        if record is None:
            raise JobNotFound(f"no job has the id {job_id[:80]!r}")
        return record

    def _fields(self, job_id: str) -> Any:
        return self._answer("HGETALL", self.key(job_id)) if is_job_id(job_id) else None

    def _answer(self, *command: Any) -> Any:
        """What Redis answers, be it an error."""
        pipe: Any = self.redis.pipeline(transaction=False)
        pipe.execute_command(*command)
        return pipe.execute(raise_on_error=False)[0]

    def counts(self) -> dict[State, int]:
        """Number of jobs by state."""
        found = self.indexes.counts([f"{ALL}:{state}" for state in State])
        return dict(zip(State, found, strict=True))

    def segment_counts(self) -> dict[State, int]:
        """Number of segments of split jobs by state."""
        found = self.indexes.counts([f"{SEGMENTS}:{state}" for state in State])
        return dict(zip(State, found, strict=True))

    def page(
        self, wanted: Filter | None = None, *, limit: int = 50, cursor: str = ""
    ) -> tuple[list[Record], str]:
        """Newest first: up to ``limit`` records, and the cursor of the next page ("" at the end).

        At most ``TEXT_SCAN`` or ``INDEX_SCAN`` jobs are looked at, so a page may come out short
        (even empty) while its cursor leads on.

        Raises:
            RequestError: not a cursor.
        """
        wanted = wanted or Filter()
        found: list[str] = []
        scanned, most = 0, TEXT_SCAN if wanted.text else INDEX_SCAN
        is_plain = len(wanted.indexes) == 1 and not wanted.text  # then a block is a page
        for block in self.indexes.walk(wanted, cursor, limit + 1 if is_plain else BLOCK):
            matching = [entry.job_id for entry, known in block if known]
            with_text = self._with_text(matching, wanted.text)
            for entry, _ in block:
                scanned += 1
                if entry.job_id in with_text:
                    found.append(entry.job_id)
                if len(found) == limit or scanned == most:
                    return self.read_all(found), str(entry)
        return self.read_all(found), ""

    def read_all(self, job_ids: Sequence[str]) -> list[Record]:
        """The records that there are and that can be read, in the order of their ids."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(self.key(job_id))
        answers = zip(job_ids, pipe.execute(raise_on_error=False), strict=True)
        found = readable("job", ((i, each) for i, each in answers if each), Record.from_fields)
        return [record for _, record in found]

    def _with_text(self, job_ids: Sequence[str], wanted: str) -> set[str]:
        """Those whose id, URI or prompts hold a text."""
        if not wanted or not job_ids:
            return set(job_ids)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(self.key(job_id), "spec")
        folded = wanted.casefold()
        answers = zip(job_ids, pipe.execute(raise_on_error=False), strict=True)
        specs = ((i, spec) for i, spec in answers if spec)
        texts = readable("job", specs, lambda spec: _searchable(json.loads(spec)))
        return {i for i, text_ in texts if folded in f"{i} {text_}".casefold()}

    def timeline(self, job_id: str) -> list[TimelineEvent]:
        """What happened to a job, oldest first."""
        return self.events(job_id, self._answer("LRANGE", self.timeline_key(job_id), 0, -1))

    def events(self, job_id: str, entries: Any) -> list[TimelineEvent]:
        """As ``timeline``, of what Redis answers to LRANGE."""
        return _entries("timeline of job", job_id, entries, TimelineEvent.of)

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        """The last attempts at a job, oldest first."""
        entries = self._answer("LRANGE", self.attempts_key(job_id), 0, -1)
        return _entries("attempts at job", job_id, entries, AttemptRecord.model_validate_json)

    # --- inside a transaction ------------------------------------------------------------------

    def write(self, pipe: Pipeline, record: Record, before: Record | None = None) -> None:
        """Write a whole record, in the place of the one ``before`` if there was one."""
        pipe.delete(self.key(record.id))
        pipe.hset(self.key(record.id), mapping=record.fields())
        self.indexes.move(pipe, before, record)

    def remove(self, pipe: Pipeline, record: Record) -> None:
        """Forget a job: its record, timeline and attempts, and its place in the indexes."""
        job_id = record.id
        self._delete(pipe, job_id)
        self.indexes.move(pipe, record, None)

    def remove_unread(self, pipe: Pipeline, job_id: str) -> None:
        """As ``remove``, where nobody can tell what indexes it is in: those of prompts, workers and
        batches keep its id, which leads nowhere."""
        self._delete(pipe, job_id)
        for name in (ALL, ENDED, *(f"{ALL}:{state}" for state in State)):
            pipe.zrem(self.indexes.key(name), job_id)

    def _delete(self, pipe: Pipeline, job_id: str) -> None:
        pipe.delete(self.key(job_id), self.timeline_key(job_id), self.attempts_key(job_id))
        pipe.delete(self.links.key(job_id))

    def update(self, pipe: Pipeline, record: Record, **changes: Any) -> None:
        """Change some fields; ``None`` removes one.

        Args:
            record: as it is before the transaction.
        """
        gone = [name for name, value in changes.items() if value is None]
        kept: dict[Any, Any] = {
            name: encode_field(value) for name, value in changes.items() if value is not None
        }
        if gone:
            pipe.hdel(self.key(record.id), *gone)
        if kept:
            pipe.hset(self.key(record.id), mapping=kept)
        if not INDEXED.isdisjoint(changes):
            known = {name: value for name, value in changes.items() if value is not None}
            cleared = {name: _DEFAULTS[name] for name in gone}
            self.indexes.move(pipe, record, record.model_copy(update=known | cleared))

    def end_attempt(
        self,
        pipe: Pipeline,
        record: Record,
        outcome: str,
        error: Failure | None = None,
        log: Sequence[str] = (),
    ) -> AttemptRecord:
        """Keep how the running attempt went."""
        started, spent = record.started_at or now(), _spent(record, outcome)
        attempt = AttemptRecord(
            number=record.attempt,
            worker=record.worker,
            host=record.host,
            started_at=round(started, 3),
            seconds=spent.seconds,
            cost=spent.cost,
            wasted_seconds=spent.wasted_seconds,
            outcome=outcome,
            stage=record.progress.stage,
            frames=record.progress.frames,
            error=error,
            log=list(log),
        )
        pipe.rpush(self.attempts_key(record.id), attempt.model_dump_json(exclude_defaults=True))
        pipe.ltrim(self.attempts_key(record.id), -ATTEMPTS_KEPT, -1)
        of_batches = (Stats(self.redis, f"{self.namespace}:batch:{i}") for i in record.batches)
        for totals in (self.totals, *of_batches):
            if not record.spec.segment:
                totals.add(pipe, f"attempts:{outcome}", 1)
            totals.add(pipe, f"seconds:{outcome}", spent.seconds)
            totals.add(pipe, f"cost:{outcome}", spent.cost)
            totals.add(pipe, "wasted:seconds", spent.wasted_seconds)
            totals.add(pipe, "wasted:cost", spent.wasted_cost)
        self.update(
            pipe,
            record,
            spent=record.spent + spent,
            progress=record.progress.model_copy(update=STILL),
            saved_at=None,
            hourly_price=None,
        )
        return attempt

    def record_event(self, pipe: Pipeline, job_id: str, event: str, **detail: Any) -> None:
        """Append to the timeline."""
        key = self.timeline_key(job_id)
        pipe.rpush(key, _compact([round(now(), 3), event, detail]))
        pipe.ltrim(key, -TIMELINE_LENGTH, -1)

    def shorten(self, pipe: Pipeline, job_id: str, events: Sequence[TimelineEvent]) -> None:
        """Leave in the timeline what is worth to be kept of its ``events`` for a month."""
        key = self.timeline_key(job_id)
        kept = [each for each in events if each.event != "progress"]
        pipe.delete(key)
        if kept:
            pipe.rpush(
                key, *(_compact([round(each.at, 1), each.event, each.detail]) for each in kept)
            )


def _entries(kind: str, job_id: str, answer: Any, parse: Callable[[Any], T]) -> list[T]:
    """What can be read of a list."""
    entries = answer if isinstance(answer, list) else [answer]
    return [each for _, each in readable(kind, ((job_id, entry) for entry in entries), parse)]


def _searchable(spec: Mapping[str, Any]) -> str:
    labels = (each["label"] for each in spec.get("objects", ()))
    return " ".join((spec["uri"], *spec["prompts"], *labels))


def _spent(record: Record, outcome: str) -> Spent:
    """What the running attempt has cost until now, and what of that an interruption has wasted."""
    at = now()
    started = record.started_at or at
    seconds = round(max(0.0, at - started), 3)
    saved_at = max(started, record.saved_at or started)
    wasted = round(max(0.0, at - saved_at), 3) if outcome in INTERRUPTED else 0.0
    per_s = record.hourly_price / 3600
    return Spent(
        seconds=seconds,
        cost=round(seconds * per_s, 6),
        wasted_seconds=wasted,
        wasted_cost=round(wasted * per_s, 6),
    )
