"""Which jobs there are of a kind: sorted sets of ids by time of submission.

Keys, below the queue's name: ``jobs`` has all jobs, ``jobs:<state>``, ``jobs:prompt:<prompt>``,
``jobs:worker:<name>`` (who has it, or had it last), ``jobs:base:<id>`` (versions of its results)
and ``jobs:cause:<code>`` (of failed ones) have those of a kind; ``jobs:batch:<id>``, and by state
and cause below it, those of a batch.
``jobs:upload:<hash>`` has those of an upload, ``jobs:token:<name>:queued`` those that wait and were
submitted with a token.
``segments`` and ``segments:<state>`` have the segments of split jobs, which are in no other list.
``ended`` has final jobs and segments by the time they ended, ``causes`` every code there was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from shoal.errors import RequestError
from shoal.model.filter import ALL, Filter, _folded, batch_index
from shoal.model.job import State
from shoal.model.record import text

if TYPE_CHECKING:  # the client reads the models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

    from shoal.model.record import Record

ENDED = "ended"
SEGMENTS = "segments"  # of split jobs
CAUSES = "causes"
_UPLOAD = re.compile(r"(?:file|gs|s3|az)://.*/\.?uploads/([0-9a-f]{16})/[^/]+")
MOST_COUNTED = 10_000  # jobs in several indexes: each is looked up in all of them
BLOCK = 500  # entries looked at in one round trip


class IndexEntry(NamedTuple):
    """A job's place in the lists, and as text the cursor of what comes after it."""

    job_id: str
    created_at: float

    @classmethod
    def parse(cls, cursor: str) -> IndexEntry:
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
        """How many jobs a filter lets through; ``None`` where that takes a walk to know.

        Jobs that are in several indexes are counted up to ``MOST_COUNTED``.
        """
        names = wanted.indexes
        if wanted.text or (len(names) > 1 and (wanted.after or wanted.before)):
            return None
        if len(names) == 1:
            return int(self.redis.zcount(self.key(names[0]), wanted.earliest, wanted.latest))
        keys = [self.key(name) for name in names]
        found: Any = self.redis.zintercard(len(keys), keys, limit=MOST_COUNTED + 1)
        return int(found) if found <= MOST_COUNTED else None

    def walk(
        self, wanted: Filter, cursor: str = "", block: int = BLOCK
    ) -> Iterator[list[tuple[IndexEntry, bool]]]:
        """Jobs newest first, in blocks of a size, each with whether it is in all indexes.

        The shortest index leads; the rest are only asked whether they know its ids. Times are
        kept to, text is not looked at.

        Raises:
            RequestError: not a cursor.
        """
        last = IndexEntry.parse(cursor) if cursor else None
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
                num=block,
                withscores=True,
            )
            offset += len(found)
            entries = [IndexEntry(job_id=text(i), created_at=float(at)) for i, at in found]
            # Equal scores come in descending order of id: skip what the last page showed.
            fresh = [not last or (e.created_at, e.job_id) < (last.created_at, last.job_id)
                     for e in entries]  # fmt: skip
            entries = list(compress(entries, fresh))
            yield list(zip(entries, self._known(entries, others), strict=True))
            if len(found) < block:
                return

    def _known(self, entries: Sequence[IndexEntry], names: Sequence[str]) -> list[bool]:
        """Whether each entry is in all of the indexes."""
        if not names or not entries:
            return [True] * len(entries)
        pipe = self.redis.pipeline(transaction=False)
        ids = [entry.job_id for entry in entries]
        for name in names:
            pipe.zmscore(self.key(name), ids)
        scores = pipe.execute()
        return [all(score is not None for score in each) for each in zip(*scores, strict=True)]


def upload_index(uri: str) -> str | None:
    """The index of the jobs of an upload; ``None``: the URI is not that of one."""
    found = _UPLOAD.match(uri)
    return f"{ALL}:upload:{found[1]}" if found else None


def queued_by(token: str) -> str:
    """The index of what waits of a token."""
    return f"{ALL}:token:{token}:{State.QUEUED}"


def _names(record: Record) -> set[str]:
    """The indexes that a job belongs to."""
    if record.spec.segment:
        return {SEGMENTS, f"{SEGMENTS}:{record.state}"}
    found = {f"{ALL}:prompt:{_folded(prompt)}" for prompt in record.spec.labels}
    if record.worker:
        found.add(f"{ALL}:worker:{record.worker}")
    if upload := upload_index(record.spec.uri):
        found.add(upload)
    if record.share.owner and record.state == State.QUEUED:
        found.add(queued_by(record.share.owner))
    if record.spec.base:
        found.add(f"{ALL}:base:{record.spec.base}")
    for top in (ALL, *map(batch_index, record.batches)):
        found |= {top, f"{top}:{record.state}"}
        if record.error and record.state == State.FAILED:
            found.add(f"{top}:cause:{record.error.code}")
    return found
