"""``/callbacks``: how each delivery went, and sending one again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import examples
from api.deps import SUBMIT, QueueDep
from api.examples import shown
from api.problems import documented
from shoal.callbacks import Delivery, DeliveryState
from shoal.errors import CallbackNotFound
from shoal.wire import Deliveries

router = APIRouter(prefix="/callbacks", tags=["callbacks"])


@router.get("", responses=shown(200, "One page.", examples.DELIVERIES))
def list_callbacks(
    queue: QueueDep,
    state: DeliveryState | None = None,
    job: Annotated[str, Query(pattern="^([0-9a-f]{24})?$", description="Only of this job.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(pattern=r"^(\d{1,9})?$")] = "",
) -> Deliveries:
    """Deliveries, newest first. With both filters a page may come out short."""
    items, after = queue.callbacks.page(state=state, job=job, limit=limit, cursor=cursor)
    return Deliveries(items=items, next_cursor=after)


@router.get(
    "/{delivery_id}",
    responses=shown(200, "The delivery.", examples.DELIVERY) | documented(CallbackNotFound),
)
def show_callback(delivery_id: str, queue: QueueDep) -> Delivery:
    """One delivery: what is sent, and each try."""
    return queue.callbacks.get(delivery_id)


@router.post(
    "/{delivery_id}/replay",
    status_code=202,
    dependencies=[SUBMIT],
    responses=shown(202, "It is sent again.", examples.DELIVERY | {"state": "pending"})
    | documented(CallbackNotFound),
)
def replay_callback(delivery_id: str, queue: QueueDep) -> Delivery:
    """Send it again, with the same 'webhook-id'; a receiver that was disabled is tried again."""
    return queue.callbacks.replay(delivery_id)
