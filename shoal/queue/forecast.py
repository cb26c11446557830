"""When a queued job is expected to start."""

from __future__ import annotations

from shoal.model.job import State
from shoal.model.record import Record
from shoal.model.share import Place
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers


def place_of(queue: JobQueue, record: Record) -> Place | None:
    """The place in the line of a queued job; ``None`` if it does not wait.

    Jobs are expected to take as long as those before them took on average, on the workers there
    are now; a source with ``max_running`` has as many of them at most.
    """
    if record.state != State.QUEUED:
        return None
    ahead = queue.line.ahead(record)
    totals = queue.records.totals.read()
    done = totals.get("attempts:succeeded", 0.0)
    workers = list_workers(queue.redis, queue.name)
    if not done or not workers:
        return Place(position=ahead + 1)
    mean_s = totals.get("seconds:succeeded", 0.0) / done
    idle = sum(worker.state == "idle" for worker in workers)
    before = max(0, ahead + 1 - idle)
    slots = min(len(workers), record.share.max_running or len(workers))
    return Place(position=ahead + 1, starts_in_s=round(before * mean_s / slots, 1))
