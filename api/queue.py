"""``/queue``: how much waits, and who works."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.deps import QueueDep
from api.examples import shown
from shoal.wire import QueueStatus
from shoal.workers import list_workers

router = APIRouter(tags=["queue"])


@router.get(
    "/queue",
    responses=shown(200, "The queue and the workers.", examples.QUEUE),
)
def queue_status(queue: QueueDep) -> QueueStatus:
    """Jobs by state, the wait, and the workers alive."""
    workers = list_workers(queue.redis, queue.name)
    return QueueStatus(**queue.depth().model_dump(), workers=workers)
