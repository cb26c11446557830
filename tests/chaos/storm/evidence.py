"""What there is when a storm is over, read once, for ``invariants`` to judge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from redis import Redis

from shoal.errors import SourceNotFound
from shoal.model.batch import BatchStatus
from shoal.model.record import AttemptRecord, Record, TimelineEvent, text
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.results.layout import result_name
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.attempts import times
from tests.receiver import Receiver


@dataclass(frozen=True)
class Content:
    """What results say: rows of both tables, and the seconds of each frame of the overlay."""

    masks: list[dict[str, Any]]
    frames: list[dict[str, Any]]
    times: list[float]


@dataclass(frozen=True)
class Message:
    """A webhook that arrived."""

    id: str
    url: str
    job: str
    state: str
    finished_at: float


@dataclass
class Evidence:
    """All of it.

    Attributes:
        indexes: key below the queue's name -> ids in that sorted set.
        totals: of the queue; and of each batch by id.
        keys: every key of Redis that does not lapse by itself.
        files: URI -> size, below the results' root.
        contents: of each result set that could be read, by job.
        events: what must not happen, and was seen while it happened.
        left: processes and folders that are there though all was stopped.
    """

    records: dict[str, Record]
    timelines: dict[str, list[TimelineEvent]]
    attempts: dict[str, list[AttemptRecord]]
    indexes: dict[str, set[str]]
    totals: dict[str, float]
    batches: list[BatchStatus]
    batch_totals: dict[str, dict[str, float]]
    keys: list[str]
    files: dict[str, int]
    contents: dict[str, Content]
    messages: list[Message]
    events: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def gather(queue: JobQueue, receiver: Receiver, settings: Settings, work: Path) -> Evidence:
    """
    Args:
        work: a folder for copies of results.
    """
    every: Any = queue.redis.keys("*")
    keys = sorted(text(key) for key in every if not _lapses(queue.redis, text(key), queue.name))
    prefix = f"{queue.name}:job:"
    jobs = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    found = {job: queue.records.get(job) for job in jobs}
    batches = Batches(queue)
    statuses = [batches.status(batch) for batch in batches.page(limit=1000)[0]]
    root = settings.results_root + "/"
    return Evidence(
        records=found,
        timelines={job: queue.records.timeline(job) for job in found},
        attempts={job: queue.records.attempts(job) for job in found},
        indexes=_indexes(queue.redis, queue.name, keys),
        totals=queue.records.totals.read(),
        batches=statuses,
        batch_totals={each.id: batches._totals(each.id).read() for each in statuses},
        keys=keys,
        files={each.uri: each.size for each in storage_for(root, settings).list(root)},
        contents=_contents(found.values(), settings, work),
        messages=[_message(headers, body) for headers, body in receiver.got],
    )


def _lapses(redis: Redis, key: str, namespace: str) -> bool:
    """Whether it goes by itself. Lists of workers do: who has lapsed is dropped by the next that
    reads ours, and by the reaper from those of RQ."""
    if key == f"{namespace}:workers":
        names: Any = redis.smembers(key)
        return all(redis.ttl(f"{namespace}:worker:{text(name)}") != -1 for name in names)
    if not key.startswith("rq:workers"):
        return bool(redis.ttl(key) != -1)
    members: Any = redis.smembers(key)
    return all(redis.ttl(member) != -1 for member in members)


def _indexes(redis: Redis, name: str, keys: Iterable[str]) -> dict[str, set[str]]:
    is_index = re.compile(rf"{name}:((jobs|segments)(:.*)?|ended)")
    found: dict[str, set[str]] = {}
    for key in keys:
        if is_index.fullmatch(key):
            members: Any = redis.zrange(key, 0, -1)
            found[key.removeprefix(f"{name}:")] = set(map(text, members))
    return found


def _contents(records: Iterable[Record], settings: Settings, work: Path) -> dict[str, Content]:
    found = {}
    for record in records:
        names = [result_name(record.spec, kind) for kind in ("masks", "frames", "overlay")]
        if record.results.keys() >= set(names):
            paths = [_fetch(record, name, settings, work / record.id) for name in names]
            there = [path for path in paths if path]
            if len(there) == len(paths):
                found[record.id] = read_content(*there)
    return found


def _fetch(record: Record, name: str, settings: Settings, work: Path) -> Path | None:
    """A copy in a folder of its own: all have the same name."""
    folder = work / name
    folder.mkdir(parents=True)
    uri = record.spec.results_prefix + name
    storage = storage_for(uri, settings)
    try:
        return storage.fetch(uri, storage.stat(uri).version, folder)
    except SourceNotFound:
        return None


def read_content(masks: Path, frames: Path, overlay: Path) -> Content:
    return Content(
        pq.read_table(masks).to_pylist(), pq.read_table(frames).to_pylist(), times(overlay)
    )


def _message(headers: dict[str, str], body: bytes) -> Message:
    told = json.loads(body)
    data = told["data"]
    named = {name.lower(): value for name, value in headers.items()}
    return Message(
        named["webhook-id"], named[":path"], data["id"], data["state"], data["finished_at"] or 0.0
    )
