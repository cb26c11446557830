"""``/scaling``: state and decisions of the autoscaler."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import QueueDep
from api.examples import shown
from shoal.queue import scaling
from shoal.queue.scaling import Scaling

router = APIRouter(tags=["queue"])


REASON = (
    "12 queued and 0 running jobs want 12 machines, the cap of 10 allows 10; "
    "there are 0, 0 of them ready, with 0 consumers"
)
EXAMPLE = {
    "status": {
        "at": 1760000100.25,
        "leader": "node-1-4121",
        "launcher": "sky",
        "action": "grow",
        "reason": REASON,
        "queued": 12,
        "running": 0,
        "want": 10,
        "machines": 0,
        "ready": 0,
        "pending": 2,
        "started": 0,
        "cap": 10,
        "price_per_hour": 0.0,
    },
    "decisions": [
        {"at": 1760000100.25, "action": "grow", "reason": REASON, "launched": 2, "cancelled": 0}
    ],
}


@router.get("/scaling", responses=shown(200, "State and decisions.", EXAMPLE))
def scaling_status(
    queue: QueueDep,
    limit: Annotated[int, Query(ge=1, le=500, description="Maximum number of decisions.")] = 50,
) -> Scaling:
    """Get the state and latest decisions of the autoscaler; no state if it is not running."""
    return scaling.read(queue.redis, queue.name, limit)
