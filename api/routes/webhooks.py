"""``/callbacks``: list webhook deliveries, and resend them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import examples
from api.deps import SUBMIT, QueueDep
from api.examples import shown
from api.middleware.problems import documented
from shoal.client.schemas import Deliveries
from shoal.errors import CallbackNotFound
from shoal.model.delivery import Delivery, DeliveryState
from shoal.model.ids import JOB_ID

router = APIRouter(prefix="/callbacks", tags=["callbacks"])


@router.get("", responses=shown(200, "A page of the list.", examples.DELIVERIES))
def list_callbacks(
    queue: QueueDep,
    state: DeliveryState | None = None,
    job: Annotated[
        str, Query(pattern=f"^({JOB_ID})?$", description="Only deliveries of this job.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(pattern=r"^(\d{1,9})?$")] = "",
) -> Deliveries:
    """List webhook deliveries, newest first. With both filters, a page may be incomplete."""
    items, after = queue.callbacks.page(state=state, job=job, limit=limit, cursor=cursor)
    return Deliveries(items=items, next_cursor=after)


@router.get(
    "/{delivery_id}",
    responses=shown(200, "The delivery.", examples.DELIVERY) | documented(CallbackNotFound),
)
def show_callback(delivery_id: str, queue: QueueDep) -> Delivery:
    """Get a webhook delivery, with its payload and attempts."""
    return queue.callbacks.get(delivery_id)


@router.post(
    "/{delivery_id}/replay",
    status_code=202,
    dependencies=[SUBMIT],
    responses=shown(202, "Queued for delivery.", examples.DELIVERY | {"state": "pending"})
    | documented(CallbackNotFound),
)
def replay_callback(delivery_id: str, queue: QueueDep) -> Delivery:
    """Resend a webhook with the same 'webhook-id', also to a disabled URL."""
    return queue.callbacks.replay(delivery_id)
