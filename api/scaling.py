"""``/scaling``: what the autoscaler sees and decides."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import QueueDep
from shoal import scaling
from shoal.scaling import Scaling

router = APIRouter(tags=["queue"])


@router.get("/scaling")
def scaling_status(
    queue: QueueDep,
    limit: Annotated[int, Query(ge=1, le=500, description="How many decisions.")] = 50,
) -> Scaling:
    """State and latest decisions of the autoscaler; no state where none runs."""
    return scaling.read(queue.redis, queue.name, limit)
