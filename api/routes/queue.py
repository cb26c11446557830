"""``/queue``: queue depth and workers, pause and resume."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import examples
from api.deps import ADMIN, QueueDep
from api.examples import shown
from api.json_response import ModelResponse
from shoal.client.schemas import QueueStatus
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers

router = APIRouter(tags=["queue"])


@router.get(
    "/queue",
    response_model=QueueStatus,
    responses=shown(200, "The queue and the workers.", examples.QUEUE),
)
def queue_status(queue: QueueDep) -> Response:
    """Get queue depth, jobs by state, and connected workers."""
    return ModelResponse(_status(queue))


@router.post(
    "/queue/pause",
    dependencies=[ADMIN],
    responses=shown(200, "The queue.", examples.QUEUE | {"paused": True}),
)
def pause(queue: QueueDep) -> QueueStatus:
    """Pause the queue: running jobs finish, no new jobs start."""
    queue.pause()
    return _status(queue)


@router.post(
    "/queue/resume",
    dependencies=[ADMIN],
    responses=shown(200, "The queue.", examples.QUEUE),
)
def resume(queue: QueueDep) -> QueueStatus:
    """Resume the queue."""
    queue.resume()
    return _status(queue)


def _status(queue: JobQueue) -> QueueStatus:
    workers = list_workers(queue.redis, queue.name)
    return QueueStatus(**queue.depth().model_dump(), workers=workers)
