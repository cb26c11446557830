"""The record of a job (a Redis hash that API and worker write field by field) and its timeline.

Keys, below the queue's name: ``job:<id>`` the record, ``timeline:<id>`` a capped stream,
``attempts:<id>`` a capped list of how each attempt went,
``jobs`` and ``jobs:<state>`` sorted sets of ids by time of submission.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from shoal.errors import Failure, JobNotFound, RequestError
from shoal.jobs import JobSpec, State

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

TIMELINE_LENGTH = 1000  # a job of hours has a part each minute
ATTEMPTS_KEPT = 20
SCAN_LIMIT = 5_000  # records read for one page of a text search


class Progress(BaseModel):
    """How far the current attempt is."""

    stage: str = ""
    frames: int = 0  # written so far
    frames_expected: int = 0  # 0: not known
    fps: float = 0.0  # written frames per second of wall time


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
    cancel_requested: bool = False
    progress: Progress = Progress()
    error: Failure | None = None
    results: dict[str, int] = {}  # file name -> bytes, below spec.results_prefix
    summary: dict[str, Any] = {}  # what the metadata says of the outcome, in short

    def fields(self) -> dict[Any, Any]:
        """As Redis hash fields: text and numbers as they are, the rest as JSON."""
        dump = self.model_dump(mode="json", exclude_none=True)
        return {key: encode_field(value) for key, value in dump.items()}

    @classmethod
    def from_fields(cls, fields: Mapping[Any, Any]) -> Record:
        values: dict[str, Any] = {text(key): text(value) for key, value in fields.items()}
        for key in ("spec", "progress", "error", "results", "summary"):
            if key in values:
                values[key] = json.loads(values[key])
        return cls.model_validate(values)


class AttemptRecord(BaseModel):
    """How one attempt at a job went."""

    number: int
    worker: str
    host: str = ""
    started_at: float
    seconds: float
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
    jobs: dict[State, int] = Field(description="Number of jobs by state.")


class Records:
    """Reads records, and writes them inside a caller's transaction."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace

    def key(self, job_id: str) -> str:
        return f"{self.namespace}:job:{job_id}"

    def timeline_key(self, job_id: str) -> str:
        return f"{self.namespace}:timeline:{job_id}"

    def attempts_key(self, job_id: str) -> str:
        return f"{self.namespace}:attempts:{job_id}"

    def index_key(self, state: State | None = None) -> str:
        return f"{self.namespace}:jobs:{state}" if state else f"{self.namespace}:jobs"

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
        pipe = self.redis.pipeline(transaction=False)
        for state in State:
            pipe.zcard(self.index_key(state))
        return dict(zip(State, pipe.execute(), strict=True))

    def page(
        self, *, state: State | None = None, search: str = "", limit: int = 50, cursor: str = ""
    ) -> tuple[list[Record], str]:
        """Newest first: up to ``limit`` records, and the cursor of the next page ("" at the end).

        A text search reads at most ``SCAN_LIMIT`` records per call, so a page may come out short
        (even empty) while its cursor leads on.
        """
        found: list[Record] = []
        wanted = search.casefold()
        for scanned, record in enumerate(self._newest_first(state, cursor), start=1):
            if wanted in _searchable(record):
                found.append(record)
            if len(found) == limit or scanned == SCAN_LIMIT:
                return found, f"{record.created_at!r}~{record.id}"
        return found, ""

    def _newest_first(self, state: State | None, cursor: str) -> Iterator[Record]:
        score, _, last_id = cursor.partition("~")
        try:
            highest = float(score) if cursor else float("inf")
            if math.isnan(highest):
                raise ValueError(cursor)
        except ValueError as error:
            raise RequestError(f"not a cursor: {cursor}") from error
        offset = 0
        while True:
            entries: list[Any] = self.redis.zrevrangebyscore(
                self.index_key(state), highest, "-inf", start=offset, num=200, withscores=True
            )
            if not entries:
                return
            ids = [text(job_id) for job_id, _ in entries]
            pipe = self.redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.hgetall(self.key(job_id))
            for job_id, (_, created), fields in zip(ids, entries, pipe.execute(), strict=True):
                # Equal scores come in descending order of id: skip what the last page showed.
                seen = cursor and created == highest and job_id >= last_id
                if fields and not seen:
                    yield Record.from_fields(fields)
            offset += len(entries)

    def timeline(self, job_id: str) -> list[TimelineEvent]:
        entries: Any = self.redis.xrange(self.timeline_key(job_id))
        return [
            TimelineEvent(
                at=int(text(entry_id).partition("-")[0]) / 1000,
                event=text(fields[b"event"]),
                detail=json.loads(fields[b"detail"]),
            )
            for entry_id, fields in entries
        ]

    def attempts(self, job_id: str) -> list[AttemptRecord]:
        """The last attempts at a job, oldest first."""
        entries = self.redis.lrange(self.attempts_key(job_id), 0, -1)
        return [AttemptRecord.model_validate_json(text(entry)) for entry in entries]

    # --- inside a transaction ------------------------------------------------------------------

    def write(self, pipe: Pipeline, record: Record) -> None:
        """Replace a whole record and enter it into the indexes."""
        pipe.delete(self.key(record.id))
        pipe.hset(self.key(record.id), mapping=record.fields())
        pipe.zadd(self.index_key(), {record.id: record.created_at})
        self._index_state(pipe, record, record.state)

    def update(self, pipe: Pipeline, record: Record, **changes: Any) -> None:
        """Change some fields; ``None`` removes one. A changed ``state`` moves it in the indexes."""
        gone = [name for name, value in changes.items() if value is None]
        kept: dict[Any, Any] = {
            name: encode_field(value) for name, value in changes.items() if value is not None
        }
        if gone:
            pipe.hdel(self.key(record.id), *gone)
        if kept:
            pipe.hset(self.key(record.id), mapping=kept)
        if "state" in changes:
            self._index_state(pipe, record, changes["state"])

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
        attempt = AttemptRecord(
            number=record.attempt,
            worker=record.worker,
            host=record.host,
            started_at=started,
            seconds=round(at - started, 3),
            outcome=outcome,
            error=error,
            log=list(log),
        )
        pipe.rpush(self.attempts_key(record.id), attempt.model_dump_json(exclude_defaults=True))
        pipe.ltrim(self.attempts_key(record.id), -ATTEMPTS_KEPT, -1)

    def _index_state(self, pipe: Pipeline, record: Record, state: State) -> None:
        for other in State:
            if other != state:
                pipe.zrem(self.index_key(other), record.id)
        pipe.zadd(self.index_key(state), {record.id: record.created_at})

    def tell(self, pipe: Pipeline, job_id: str, event: str, **detail: Any) -> None:
        """Append to the timeline."""
        fields: dict[Any, Any] = {"event": event, "detail": json.dumps(detail)}
        pipe.xadd(self.timeline_key(job_id), fields, maxlen=TIMELINE_LENGTH, approximate=False)


def encode_field(value: Any) -> str | float | int:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, int, float)):
        return value
    return json.dumps(value)


def _searchable(record: Record) -> str:
    return " ".join((record.id, record.spec.uri, *record.spec.labels)).casefold()


def text(value: Any) -> str:
    """What a Redis client that does not decode (RQ wants one) answers, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def now() -> float:
    return time.time()
