"""Which jobs there are of a kind: sorted sets of ids by time of submission.

Keys, below the queue's name: ``jobs`` has all jobs, ``jobs:<state>``, ``jobs:prompt:<prompt>``,
``jobs:worker:<name>`` (who has it, or had it last) and ``jobs:cause:<code>`` (of failed ones) have
those of a kind; ``jobs:batch:<id>``, and by state and cause below it, those of a batch.
``ended`` has final jobs by the time they ended, ``causes`` every code there was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shoal.errors import RequestError
from shoal.jobs import State

if TYPE_CHECKING:  # the client reads the models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

    from shoal.records import Record

ALL = "jobs"
ENDED = "ended"
CAUSES = "causes"
BLOCK = 500  # entries looked at in one round trip


class Filter(BaseModel):
    """What jobs to list. What is left out, or empty, does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State | None = None
    text: str = Field("", max_length=200, description="In the id, the URI or a prompt; any case.")
    prompt: str = Field("", max_length=100, description="One of the prompts, whole; any case.")
    worker: str = Field("", max_length=200, description="The name of the worker that had it last.")
    cause: str = Field("", max_length=80, description="The code of the error it failed with.")
    batch: str = Field("", max_length=40, description="The id of a batch.")
    after: datetime | None = Field(None, description="Submitted at this time (UTC) or later.")
    before: datetime | None = Field(None, description="Submitted before this time (UTC).")

    @field_validator("state", "after", "before", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @property
    def indexes(self) -> tuple[str, ...]:
        """The indexes that have all of these jobs, apart from text and times."""
        top = batch_index(self.batch) if self.batch else ALL
        below = [
            f"{top}:{self.state}" if self.state else "",
            f"{top}:cause:{self.cause}" if self.cause else "",
        ]
        others = [
            f"{ALL}:prompt:{_folded(self.prompt)}" if self.prompt.strip() else "",
            f"{ALL}:worker:{self.worker}" if self.worker else "",
        ]
        if self.batch and not any(below):
            below = [top]
        return tuple(filter(None, below + others)) or (ALL,)

    @property
    def earliest(self) -> float | str:
        return _seconds(self.after) if self.after else "-inf"

    @property
    def latest(self) -> float | str:
        """As Redis writes it: '(' leaves the bound itself out."""
        return f"({_seconds(self.before)!r}" if self.before else "+inf"


class Entry(BaseModel):
    """A job's place in the lists, and as text the cursor of what comes after it."""

    job_id: str
    created_at: float

    @classmethod
    def parse(cls, cursor: str) -> Entry:
        """
        Raises:
            RequestError: not a cursor.
        """
        score, _, job_id = cursor.partition("~")
        try:
            at = float(score)
        except ValueError as error:
            raise RequestError(f"not a cursor: {cursor}") from error
        if at != at or not job_id:
            raise RequestError(f"not a cursor: {cursor}")
        return cls(job_id=job_id, created_at=at)

    def __str__(self) -> str:
        return f"{self.created_at!r}~{self.job_id}"


class Indexes:
    """Keeps the sorted sets true, inside a caller's transaction, and walks them."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace

    def key(self, name: str) -> str:
        return f"{self.namespace}:{name}"

    # --- inside a transaction --------------------------------------------------------------------

    def move(self, pipe: Pipeline, before: Record | None, after: Record | None) -> None:
        """Enter what is new of a job and take out what is no longer so; ``None``: no record."""
        old = _names(before) if before else set()
        new = _names(after) if after else set()
        known = after or before
        assert known is not None
        for name in sorted(old - new):
            pipe.zrem(self.key(name), known.id)
        for name in sorted(new - old):
            pipe.zadd(self.key(name), {known.id: known.created_at})
        if after and after.state.is_final:
            pipe.zadd(self.key(ENDED), {known.id: after.finished_at or after.created_at})
        elif before and before.state.is_final:
            pipe.zrem(self.key(ENDED), known.id)
        if after and after.error and after.state == State.FAILED:
            pipe.sadd(self.key(CAUSES), after.error.code)

    # --- queries ---------------------------------------------------------------------------------

    def counts(self, names: Sequence[str]) -> list[int]:
        """The number of jobs in each index."""
        pipe = self.redis.pipeline(transaction=False)
        for name in names:
            pipe.zcard(self.key(name))
        return list(pipe.execute())

    def by_cause(self, top: str = ALL) -> dict[str, int]:
        """Failed jobs below an index by the code of their error, the most frequent first."""
        codes = sorted(text(code) for code in self.redis.smembers(self.key(CAUSES)))
        found = zip(codes, self.counts([f"{top}:cause:{code}" for code in codes]), strict=True)
        return dict(sorted(((c, n) for c, n in found if n), key=lambda item: -item[1]))

    def count(self, wanted: Filter) -> int | None:
        """How many jobs a filter lets through; ``None`` where that takes a walk to know."""
        if wanted.text or len(wanted.indexes) > 1:
            return None
        (name,) = wanted.indexes
        return int(self.redis.zcount(self.key(name), wanted.earliest, wanted.latest))

    def walk(self, wanted: Filter, cursor: str = "") -> Iterator[list[tuple[Entry, bool]]]:
        """Jobs newest first, in blocks, each with whether it is in all indexes.

        The shortest index leads; the rest are only asked whether they know its ids. Times are
        kept to, text is not looked at.

        Raises:
            RequestError: not a cursor.
        """
        last = Entry.parse(cursor) if cursor else None
        names = wanted.indexes
        if len(names) > 1:
            sizes = dict(zip(names, self.counts(names), strict=True))
            names = tuple(sorted(names, key=sizes.__getitem__))
        lead, others = names[0], names[1:]
        highest = last.created_at if last else wanted.latest
        offset = 0
        while True:
            found: list[Any] = self.redis.zrevrangebyscore(
                self.key(lead),
                highest,
                wanted.earliest,
                start=offset,
                num=BLOCK,
                withscores=True,
            )
            if not found:
                return
            offset += len(found)
            entries = [Entry(job_id=text(i), created_at=float(at)) for i, at in found]
            # Equal scores come in descending order of id: skip what the last page showed.
            fresh = [not last or (e.created_at, e.job_id) < (last.created_at, last.job_id)
                     for e in entries]  # fmt: skip
            entries = list(compress(entries, fresh))
            yield list(zip(entries, self._known(entries, others), strict=True))

    def _known(self, entries: Sequence[Entry], names: Sequence[str]) -> list[bool]:
        """Whether each entry is in all of the indexes."""
        if not names or not entries:
            return [True] * len(entries)
        pipe = self.redis.pipeline(transaction=False)
        ids = [entry.job_id for entry in entries]
        for name in names:
            pipe.zmscore(self.key(name), ids)
        scores = pipe.execute()
        return [all(score is not None for score in each) for each in zip(*scores, strict=True)]


def _names(record: Record) -> set[str]:
    """The indexes that a job belongs to."""
    found = {f"{ALL}:prompt:{_folded(prompt)}" for prompt in record.spec.labels}
    if record.worker:
        found.add(f"{ALL}:worker:{record.worker}")
    for top in (ALL, *map(batch_index, record.batches)):
        found |= {top, f"{top}:{record.state}"}
        if record.error and record.state == State.FAILED:
            found.add(f"{top}:cause:{record.error.code}")
    return found


def batch_index(batch_id: str) -> str:
    """The index of a batch's jobs; those of its jobs by state and cause lie below."""
    return f"{ALL}:batch:{batch_id}"


def _folded(prompt: str) -> str:
    return " ".join(prompt.casefold().split())


def _seconds(at: datetime) -> float:
    """Seconds since the epoch; a time without a zone is UTC."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def text(value: Any) -> str:
    """What a Redis client that does not decode (RQ wants one) answers, as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
