"""Has workers of surplus consumers end: after the video that they have, as 'shoal drain' does."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors import WorkerNotFound
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import ask_to_drain, list_workers


def surplus(queue: JobQueue, consumers: Sequence[str], count: int) -> int:
    """Ask workers of ``count`` consumers to drain, those that drain already among them.

    Args:
        consumers: how the names of each one's workers begin. A consumer may have several, one for
            each GPU, or none yet: such a one is asked when it has.

    Returns:
        How many consumers drain now.
    """
    workers = list_workers(queue.redis, queue.name)
    crews = [[w for w in workers if w.name.startswith(prefix)] for prefix in consumers]
    chosen = sorted(filter(None, crews), key=_reluctance)[:count]
    _ask(queue, [worker for crew in chosen for worker in crew])
    return len(chosen)


def _ask(queue: JobQueue, workers: Sequence[WorkerInfo]) -> None:
    for worker in workers:
        if worker.draining:
            continue
        try:
            ask_to_drain(queue.redis, queue.name, worker.name)
        except WorkerNotFound:  # it has just ended
            continue


def _reluctance(crew: list[WorkerInfo]) -> tuple[bool, int]:
    """Those that drain come first, then those with the fewest videos."""
    return not all(w.draining for w in crew), sum(w.state == "busy" for w in crew)
