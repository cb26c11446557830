"""The record of a job (a Redis hash that API and worker write field by field) and its timeline.

Keys, below the queue's name: ``job:<id>`` the record, ``timeline:<id>`` a capped list,
``attempts:<id>`` a capped list of how each attempt went. ``shoal.indexes`` has the lists of jobs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from shoal.errors import Failure, JobNotFound
from shoal.indexes import ALL, Filter, Indexes, text as text
from shoal.jobs import JobSpec, State
from shoal.totals import Totals

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

TIMELINE_LENGTH = 1000  # a job of hours has a part each minute
ATTEMPTS_KEPT = 20
# Fields that decide what lists a job is in.
INDEXED = frozenset(("state", "worker", "error", "batches"))
STILL = {"stage": "", "fps": 0.0, "moved_at": 0.0}  # progress when nobody is at work
INTERRUPTED = ("preempted", "lost")  # outcomes of an attempt whose machine was taken away
TEXT_SCAN = 2_000  # jobs looked at for one page of a text search
INDEX_SCAN = 20_000  # the same where only indexes are asked


Priority = Literal["front", "normal"]


class Progress(BaseModel):
    """How far the current attempt is."""

    stage: str = ""
    frames: int = 0  # written so far
    frames_expected: int = 0  # 0: not known
    fps: float = 0.0  # written frames per second of wall time
    moved_at: float = 0.0  # when stage or frames last changed


class Spent(BaseModel):
    """What work has cost: a worker's seconds, of its GPU where it has one, and US dollars."""

    seconds: float = 0.0
    cost: float = Field(0.0, description="0 where the price per hour is not known.")
    wasted_seconds: float = Field(
        0.0, description="Of those: after the last part of an attempt whose machine was taken away."
    )
    wasted_cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            seconds=round(self.seconds + other.seconds, 3),
            cost=round(self.cost + other.cost, 6),
            wasted_seconds=round(self.wasted_seconds + other.wasted_seconds, 3),
            wasted_cost=round(self.wasted_cost + other.wasted_cost, 6),
        )


class Record(BaseModel):
    """Everything known about a job. Times are seconds since the epoch."""

    id: str
    spec: JobSpec
    state: State
    created_at: float
    queued_at: float
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0  # number of times a worker took it; also the lease's token
    failures: int = 0  # transient ones since it was last submitted or retried by a user
    preemptions: int = 0
    model_deaths: int = 0  # of those, the ones that cost a model process
    worker: str = ""
    host: str = ""  # the worker's machine
    priority: Priority = "normal"  # of one that waits
    cancel_requested: bool = False
    progress: Progress = Field(default_factory=Progress)  # a plain default is copied in depth
    error: Failure | None = None
    results: dict[str, int] = {}  # file name -> bytes, below spec.results_prefix
    summary: dict[str, Any] = {}  # what the metadata says of the outcome, in short
    callbacks: list[str] = []  # URLs that are told how it ended; see shoal.callbacks
    batches: list[str] = []  # ids of those it belongs to
    hourly_price: float = 0.0  # of the machine of this attempt, in US dollars; 0: not known
    saved_at: float | None = None  # until when the work of this attempt is in parts
    spent: Spent = Field(default_factory=Spent)

    def fields(self) -> dict[Any, Any]:
        """As Redis hash fields: text and numbers as they are, the rest as JSON; no defaults."""
        values = ((name, getattr(self, name), default) for name, default in _DEFAULTS.items())
        return {name: encode_field(value) for name, value, default in values if value != default}

    @classmethod
    def from_fields(cls, fields: Mapping[Any, Any]) -> Record:
        values: dict[str, Any] = {text(key): text(value) for key, value in fields.items()}
        for key in (
            "spec",
            "progress",
            "error",
            "results",
            "summary",
            "callbacks",
            "batches",
            "spent",
        ):
            if key in values:
                values[key] = json.loads(values[key])
        return cls.model_validate(values)


_DEFAULTS = {
    name: each.get_default(call_default_factory=True) for name, each in Record.model_fields.items()
}


class AttemptRecord(BaseModel):
    """How one attempt at a job went."""

    number: int
    worker: str
    host: str = ""
    started_at: float
    seconds: float
    cost: float = 0.0  # US dollars
    wasted_seconds: float = 0.0  # of a preempted or lost one: since its last part
    outcome: str  # succeeded, failed, cancelled, preempted or lost
    error: Failure | None = None
    log: list[str] = []  # the last lines of a model process that failed


class TimelineEvent(BaseModel):
    """One thing that happened to a job."""

    at: float
    event: str
    detail: dict[str, Any] = {}


class Depth(BaseModel):
    """The queue at a glance."""

    queued: int
    running: int
    oldest_queued_s: float = Field(description="How long the first in line has waited.")
    paused: bool = Field(description="Workers finish what they have and take nothing new.")
    jobs: dict[State, int] = Field(description="Number of jobs by state.")


class Records:
    """Reads records, and writes them inside a caller's transaction."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace
        self.indexes = Indexes(redis, namespace)
        self.totals = Totals(redis, namespace)

    def key(self, job_id: str) -> str:
        return f"{self.namespace}:job:{job_id}"

    def timeline_key(self, job_id: str) -> str:
        return f"{self.namespace}:timeline:{job_id}"

    def attempts_key(self, job_id: str) -> str:
        return f"{self.namespace}:attempts:{job_id}"

    def find(self, job_id: str) -> Record | None:
        fields = self.redis.hgetall(self.key(job_id))
        return Record.from_fields(fields) if fields else None

    def get(self, job_id: str) -> Record:
        """
        Raises:
            JobNotFound: no such job.
        """
        record = self.find(job_id)
        if record is None:
            raise JobNotFound(f"no job has the id {job_id}")
        return record

    def counts(self) -> dict[State, int]:
        """Number of jobs by state."""
        found = self.indexes.counts([f"{ALL}:{state}" for state in State])
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
        for block in self.indexes.walk(wanted, cursor):
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
        """The records that there are, in the order of their ids."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(self.key(job_id))
        return [Record.from_fields(fields) for fields in pipe.execute() if fields]

    def _with_text(self, job_ids: Sequence[str], wanted: str) -> set[str]:
        """Those whose id, URI or prompts hold a text."""
        if not wanted or not job_ids:
            return set(job_ids)
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(self.key(job_id), "spec")
        folded = wanted.casefold()
        specs = zip(job_ids, pipe.execute(), strict=True)
        return {i for i, spec in specs if spec and folded in _searchable(i, json.loads(spec))}

    def timeline(self, job_id: str) -> list[TimelineEvent]:
        """What happened to a job, oldest first."""
        entries = self.redis.lrange(self.timeline_key(job_id), 0, -1)
        return [
            TimelineEvent(at=at, event=event, detail=detail)
            for at, event, detail in map(json.loads, entries)
        ]

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        """The last attempts at a job, oldest first."""
        entries = self.redis.lrange(self.attempts_key(job_id), 0, -1)
        return [AttemptRecord.model_validate_json(text(entry)) for entry in entries]

    # --- inside a transaction ------------------------------------------------------------------

    def write(self, pipe: Pipeline, record: Record, before: Record | None = None) -> None:
        """Write a whole record, in the place of the one ``before`` if there was one."""
        pipe.delete(self.key(record.id))
        pipe.hset(self.key(record.id), mapping=record.fields())
        self.indexes.move(pipe, before, record)

    def remove(self, pipe: Pipeline, record: Record) -> None:
        """Forget a job: its record, timeline and attempts, and its place in the indexes."""
        job_id = record.id
        pipe.delete(self.key(job_id), self.timeline_key(job_id), self.attempts_key(job_id))
        self.indexes.move(pipe, record, None)

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
    ) -> None:
        """Keep how the running attempt went."""
        at = now()
        started = record.started_at or at
        seconds = round(max(0.0, at - started), 3)
        saved_at = max(started, record.saved_at or started)
        wasted = round(max(0.0, at - saved_at), 3) if outcome in INTERRUPTED else 0.0
        per_s = record.hourly_price / 3600
        spent = Spent(
            seconds=seconds,
            cost=round(seconds * per_s, 6),
            wasted_seconds=wasted,
            wasted_cost=round(wasted * per_s, 6),
        )
        attempt = AttemptRecord(
            number=record.attempt,
            worker=record.worker,
            host=record.host,
            started_at=round(started, 3),
            seconds=seconds,
            cost=spent.cost,
            wasted_seconds=wasted,
            outcome=outcome,
            error=error,
            log=list(log),
        )
        pipe.rpush(self.attempts_key(record.id), attempt.model_dump_json(exclude_defaults=True))
        pipe.ltrim(self.attempts_key(record.id), -ATTEMPTS_KEPT, -1)
        of_batches = (Totals(self.redis, f"{self.namespace}:batch:{i}") for i in record.batches)
        for totals in (self.totals, *of_batches):
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

    def tell(self, pipe: Pipeline, job_id: str, event: str, **detail: Any) -> None:
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


def encode_field(value: Any) -> str | float | int:
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_defaults=True)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, int, float)):
        return value
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _searchable(job_id: str, spec: Mapping[str, Any]) -> str:
    labels = (each["label"] for each in spec.get("objects", ()))
    return " ".join((job_id, spec["uri"], *spec["prompts"], *labels)).casefold()


def now() -> float:
    return time.time()
