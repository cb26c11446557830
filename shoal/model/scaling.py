"""What the autoscaler publishes: its state and its decisions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from shoal.model.record import Amount, At, Count

Action = Literal["grow", "hold", "start", "shrink", "idle", "paused", "away"]


class ScalingStatus(BaseModel):
    """The last state of the autoscaler. Times are seconds since the epoch."""

    at: At
    leader: str  # host and process id
    launcher: str  # sky or local
    action: Action
    reason: str
    queued: Count = 0  # jobs
    running: Count = 0
    want: Count = 0  # desired number of machines, within the limits
    machines: Count = 0
    ready: Count = 0
    pending: Count = 0  # consumers without a machine
    started: Count = 0  # consumers on one
    cap: Count = 0  # machines, at most
    price_per_hour: Amount = 0.0  # of all machines together


class ScalingDecision(BaseModel):
    """One decision of the autoscaler."""

    at: At
    action: Action
    reason: str
    launched: Count = 0
    cancelled: Count = 0
