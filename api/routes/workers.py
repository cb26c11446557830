"""``/workers``: drain a worker."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.deps import ADMIN, QueueDep
from api.examples import shown
from api.middleware.problems import documented
from shoal.errors import WorkerNotFound
from shoal.model.worker import WorkerInfo
from shoal.queue.workers import ask_to_drain

router = APIRouter(prefix="/workers", tags=["queue"])

DRAINING = examples.QUEUE["workers"][0] | {"draining": True}


@router.post(
    "/{name}/drain",
    status_code=202,
    dependencies=[ADMIN],
    responses=shown(202, "The worker will exit.", DRAINING) | documented(WorkerNotFound),
)
def drain(name: str, queue: QueueDep) -> WorkerInfo:
    """Drain a worker: it finishes its current video, then exits."""
    return ask_to_drain(queue.redis, queue.name, name)
