"""When a queued job is expected to start."""

from __future__ import annotations

from typing import NamedTuple

from shoal.model.job import State
from shoal.model.record import Record
from shoal.model.share import Place
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers


class Throughput(NamedTuple):
    """How fast jobs are done.

    Attributes:
        workers: how many there are.
        idle: how many of them have nothing to do.
        mean_s: how long a job that succeeded took on average.
    """

    workers: int
    idle: int
    mean_s: float


def throughput_of(queue: JobQueue) -> Throughput | None:
    """``None`` while there is no worker, or nothing has succeeded yet."""
    totals = queue.records.totals.read()
    done = totals.get("attempts:succeeded", 0.0)
    workers = list_workers(queue.redis, queue.name)
    if not done or not workers:
        return None
    idle = sum(worker.state == "idle" for worker in workers)
    return Throughput(len(workers), idle, totals.get("seconds:succeeded", 0.0) / done)


def place_of(queue: JobQueue, record: Record) -> Place | None:
    """The place in the line of a queued job; ``None`` if it does not wait."""
    if record.state != State.QUEUED:
        return None
    return place_at(queue.line.ahead(record), record, throughput_of(queue))


def place_at(ahead: int, record: Record, throughput: Throughput | None) -> Place:
    """The place of a job that so many others are before.

    Jobs are expected to take as long as those before them took on average, on the workers there
    are now; a source with ``max_running`` has as many of them at most.
    """
    if throughput is None:
        return Place(position=ahead + 1)
    before = max(0, ahead + 1 - throughput.idle)
    slots = min(throughput.workers, record.share.max_running or throughput.workers)
    return Place(position=ahead + 1, starts_in_s=round(before * throughput.mean_s / slots, 1))
