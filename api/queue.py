"""``/queue``: how much waits, and who works."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.deps import ADMIN, QueueDep
from api.examples import shown
from shoal.queue import JobQueue
from shoal.wire import QueueStatus
from shoal.workers import list_workers

router = APIRouter(tags=["queue"])


@router.get(
    "/queue",
    responses=shown(200, "The queue and the workers.", examples.QUEUE),
)
def queue_status(queue: QueueDep) -> QueueStatus:
    """Jobs by state, the wait, and the workers alive."""
    return _status(queue)


@router.post(
    "/queue/pause",
    dependencies=[ADMIN],
    responses=shown(200, "The queue.", examples.QUEUE | {"paused": True}),
)
def pause(queue: QueueDep) -> QueueStatus:
    """Have the workers take nothing new. What runs goes on; what is submitted waits."""
    queue.pause()
    return _status(queue)


@router.post(
    "/queue/resume",
    dependencies=[ADMIN],
    responses=shown(200, "The queue.", examples.QUEUE),
)
def resume(queue: QueueDep) -> QueueStatus:
    """Have the workers take jobs again."""
    queue.resume()
    return _status(queue)


def _status(queue: JobQueue) -> QueueStatus:
    workers = list_workers(queue.redis, queue.name)
    return QueueStatus(**queue.depth().model_dump(), workers=workers)
