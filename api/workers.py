"""``/workers``: have one end when its video is done."""

from __future__ import annotations

from fastapi import APIRouter

from api import examples
from api.deps import ADMIN, QueueDep
from api.examples import shown
from api.problems import documented
from shoal.errors import WorkerNotFound
from shoal.workers import WorkerInfo, ask_to_drain

router = APIRouter(prefix="/workers", tags=["queue"])

DRAINING = examples.QUEUE["workers"][0] | {"draining": True}


@router.post(
    "/{name}/drain",
    status_code=202,
    dependencies=[ADMIN],
    responses=shown(202, "It will end.", DRAINING) | documented(WorkerNotFound),
)
def drain(name: str, queue: QueueDep) -> WorkerInfo:
    """Have a worker take nothing new and end when its video is done, as for an upgrade."""
    return ask_to_drain(queue.redis, queue.name, name)
