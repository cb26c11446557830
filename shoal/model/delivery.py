"""A webhook message and its delivery."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from shoal.model.record import Amount, At, Count


class DeliveryState(StrEnum):
    PENDING = "pending"  # will be sent or retried
    DELIVERED = "delivered"  # the receiver responded 2xx
    FAILED = "failed"  # all attempts failed; can be resent
    DISABLED = "disabled"  # the receiver responded 410 Gone


class Try(BaseModel):
    """One delivery attempt. ``at`` is in seconds since the epoch."""

    at: At
    seconds: Amount
    status: Count = Field(0, description="HTTP status of the response; 0 = no response.")
    error: str = ""


class Delivery(BaseModel):
    """A webhook message to one URL. Times are seconds since the epoch."""

    id: str = Field(description="The 'webhook-id' header; the same for every attempt.")
    job: str
    url: str
    type: str = Field(description="'video.succeeded', 'video.failed' or 'video.cancelled'.")
    state: DeliveryState = DeliveryState.PENDING
    created_at: At
    next_at: At | None = Field(None, description="Time of the next attempt.")
    attempts: Count = Field(0, description="Number of attempts since it was created or resent.")
    tries: list[Try] = Field([], description="The last 20 attempts.")
    body: str = Field(description="The payload, as JSON.")
