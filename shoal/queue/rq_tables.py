"""RQ's tables as they lie in Redis, for people to look at.

RQ's own classes clean registries up as they read them, and pass a job's fields to a serializer,
which may be pickle. Here nothing is written, and a value is text, JSON within limits, or not
readable. Lengths are cut in Redis, so a huge value costs no more than a small one.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis
from redis import Redis

from shoal.model.ids import is_job_id


class Table(StrEnum):
    """RQ's tables of one queue."""

    QUEUED = "queued"
    TAKEN = "taken"  # by a worker, and not started yet
    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"
    DEFERRED = "deferred"
    SCHEDULED = "scheduled"

    @property
    def is_list(self) -> bool:
        """Whether it is a list; the others are sorted sets."""
        return self in (Table.QUEUED, Table.TAKEN)

    def key(self, queue: str) -> str:
        return _KEYS[self].format(queue)


_KEYS = {
    Table.QUEUED: "rq:queue:{}",
    Table.TAKEN: "rq:queue:{}:intermediate",
    Table.STARTED: "rq:wip:{}",
    Table.FINISHED: "rq:finished:{}",
    Table.FAILED: "rq:failed:{}",
    Table.CANCELED: "rq:canceled:{}",
    Table.DEFERRED: "rq:deferred:{}",
    Table.SCHEDULED: "rq:scheduled:{}",
}

MAX_NAME_BYTES = 200  # of an id, a state, a time
MAX_LINE_BYTES = 1000  # of a job's fields of one line
MAX_FIELD_BYTES = 20_000  # of its longer ones, as they are stored
MAX_TEXT_CHARS = 50_000  # of what is shown of one, after zlib
MAX_WORKERS = 100
LATEST = 4e9  # a time beyond is none, and more than a calendar can show

TEXTS = (
    "status", "description", "origin", "created_at", "enqueued_at", "started_at", "ended_at",
    "last_heartbeat", "timeout", "worker_name", "failure_ttl", "result_ttl",
)  # fmt: skip
JSONS = ("data", "meta", "result")  # pickled by RQ's default serializer: then they are not read
WORKER = (
    "state", "current_job", "hostname", "pid", "version", "birth", "last_heartbeat",
    "successful_job_count", "failed_job_count",
)  # fmt: skip

# One command that reads, its strings cut to a length.
_READ = """
local most = tonumber(ARGV[1])
local function cut(value)
  if type(value) == 'string' then return string.sub(value, 1, most) end
  if type(value) == 'table' and not value.err then
    for i, each in ipairs(value) do value[i] = cut(each) end
  end
  return value
end
return cut(redis.pcall(ARGV[2], KEYS[1], unpack(ARGV, 3)))
"""


class NotReadable(Exception):
    """A value that is no text or JSON, or too long."""


@dataclass(frozen=True)
class RQEntry:
    """One entry of a table.

    Attributes:
        job_id: "" where the entry is not one of Shoal's.
        at: a registry's score as seconds since the epoch: until when the entry stays, or when it
            is due.
    """

    label: str
    job_id: str
    at: float | None = None


@dataclass(frozen=True)
class RQWorker:
    """A worker as RQ knows it; ``fields`` has what there is of ``WORKER``."""

    name: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class RQJob:
    """A job as RQ keeps it.

    Attributes:
        texts: those of ``TEXTS`` that it has.
        values: those of ``JSONS`` and ``exc_info`` that it has; ``None`` where one is not readable.
    """

    id: str
    texts: Mapping[str, str]
    values: Mapping[str, str | None]


class RQTables:
    """Reads the tables of one queue; a key that holds something else reads as ``None``.

    Args:
        lists: keys of the lists that make up ``Table.QUEUED``; by default RQ's one.
    """

    def __init__(self, connection: Redis, queue: str, lists: Sequence[str] = ()) -> None:
        self._redis = connection
        self._queue = queue
        self._lists = lists or [Table.QUEUED.key(queue)]

    def counts(self) -> dict[Table, int | None]:
        """The length of each table."""
        others = [table for table in Table if table is not Table.QUEUED]
        commands = [("LLEN" if t.is_list else "ZCARD", t.key(self._queue)) for t in others]
        queued = _total(self._lengths())
        return {Table.QUEUED: queued} | dict(zip(others, self._read(commands), strict=True))

    def page(self, table: Table, start: int, limit: int) -> list[RQEntry] | None:
        """Entries in the table's own order."""
        if table is Table.QUEUED:
            return self._queued(start, limit)
        key, last = table.key(self._queue), start + limit - 1
        if table.is_list:
            (found,) = self._read([("LRANGE", key, start, last)])
            return None if found is None else [_entry(raw) for raw in found]
        (found,) = self._read([("ZRANGE", key, start, last, "WITHSCORES")])
        if found is None:
            return None
        pairs = zip(found[::2], found[1::2], strict=True)
        return [_entry(raw, score) for raw, score in pairs]

    def _queued(self, start: int, limit: int) -> list[RQEntry] | None:
        """Of the lists one after the other."""
        lengths = self._lengths()
        if _total(lengths) is None:
            return None
        entries: list[RQEntry] = []
        for key, length in zip(self._lists, lengths, strict=True):
            if start < (length or 0) and limit > len(entries):
                last = start + limit - len(entries) - 1
                (found,) = self._read([("LRANGE", key, start, last)])
                entries += [_entry(raw) for raw in found or []]
            start = max(0, start - (length or 0))
        return entries

    def _lengths(self) -> list[int | None]:
        return self._read([("LLEN", key) for key in self._lists])

    def workers(self) -> list[RQWorker]:
        """By name, ``MAX_WORKERS`` at most; names whose worker is gone are left out."""
        key = f"rq:workers:{self._queue}"
        (found,) = self._read([("SSCAN", key, 0, "COUNT", MAX_WORKERS)])
        keys = sorted(found[1])[:MAX_WORKERS] if found else []
        keys = [each for each in keys if each.startswith(b"rq:worker:")]
        rows = self._read([("HMGET", each, *WORKER) for each in keys])
        return [
            RQWorker(_text(key).removeprefix("rq:worker:"), _texts(WORKER, row))
            for key, row in zip(keys, rows, strict=True)
            if row and any(row)
        ]

    def job(self, job_id: str) -> RQJob | None:
        """A job's fields, without what only RQ's serializer could read."""
        key, values = f"rq:job:{job_id}", (*JSONS, "exc_info")
        (texts,) = self._read([("HMGET", key, *TEXTS)], MAX_LINE_BYTES)
        (found,) = self._read([("HMGET", key, *values)], MAX_FIELD_BYTES + 1)
        if not texts or not found or not any((*texts, *found)):
            return None
        return RQJob(
            job_id,
            _texts(TEXTS, texts),
            {n: _shown(n, raw) for n, raw in zip(values, found, strict=True) if raw},
        )

    def _read(
        self, commands: Sequence[tuple[Any, ...]], most: int = MAX_NAME_BYTES
    ) -> list[Any | None]:
        pipe = self._redis.pipeline(transaction=False)
        for command, key, *args in commands:
            pipe.eval(_READ, 1, key, most, command, *args)
        found = pipe.execute(raise_on_error=False)
        for each in found:
            if isinstance(each, Exception) and "WRONGTYPE" not in str(each):
                raise each
        return [None if isinstance(each, redis.ResponseError) else each for each in found]


def _total(lengths: Sequence[int | None]) -> int | None:
    """``None`` where no list can be read."""
    known = [each for each in lengths if each is not None]
    return sum(known) if known else None


def _entry(raw: bytes, score: bytes | None = None) -> RQEntry:
    label = _text(raw)
    job_id = label.partition(":")[0]  # what is started has its execution's id behind it
    at = float(score) if score is not None else 0.0
    return RQEntry(label, job_id if is_job_id(job_id) else "", at if 0 < at < LATEST else None)


def _texts(names: Sequence[str], found: Sequence[bytes | None]) -> dict[str, str]:
    return {name: _text(raw) for name, raw in zip(names, found, strict=True) if raw}


def _shown(name: str, raw: bytes) -> str | None:
    try:
        if len(raw) > MAX_FIELD_BYTES:
            raise NotReadable
        if name == "exc_info":
            return _text(_unpacked(raw))
        content = json.loads(_unpacked(raw) if name == "data" else raw)
        return _text(json.dumps(content, indent=2, ensure_ascii=False).encode(errors="replace"))
    except (NotReadable, ValueError, RecursionError):
        return None


def _unpacked(raw: bytes) -> bytes:
    """What zlib has packed, up to ``MAX_TEXT_CHARS``; anything else as it is.

    Raises:
        NotReadable: it is longer, or cut off.
    """
    packed = zlib.decompressobj()
    try:
        content = packed.decompress(raw, MAX_TEXT_CHARS)
    except zlib.error:  # Shoal leaves out the packing, which RQ allows
        return raw
    if not packed.eof:
        raise NotReadable
    return content


def _text(raw: bytes) -> str:
    """Bytes as text to show: nothing in it steers a terminal or turns the text round."""
    found = raw[:MAX_TEXT_CHARS].decode(errors="backslashreplace")
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in found)
