"""What the autoscaler makes known: its state, its decisions, and the cap that users set.

Keys, below the queue's name: ``scaling`` the state, which lapses when nobody renews it;
``scaling:decisions`` a capped stream; ``scaling:cap`` a number; ``scaling:leader`` a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from shoal.records import text

if TYPE_CHECKING:  # the API reads these models, and so may a client without Redis
    from redis import Redis

KEPT = 500  # decisions

Action = Literal["grow", "hold", "start", "shrink", "idle", "paused", "away"]


class ScalingStatus(BaseModel):
    """What the autoscaler saw last, and what it makes of it. Times are seconds since the epoch."""

    at: float
    leader: str  # host and process id
    launcher: str  # sky or local
    action: Action
    reason: str
    queued: int = 0  # jobs
    running: int = 0
    want: int = 0  # machines that the work justifies, within the limits
    machines: int = 0
    ready: int = 0
    pending: int = 0  # consumers without a machine
    started: int = 0  # consumers on one
    cap: int = 0  # machines, at most
    price_per_hour: float = 0.0  # of all machines together


class ScalingDecision(BaseModel):
    """One change of mind, or one thing done."""

    at: float
    action: Action
    reason: str
    launched: int = 0
    cancelled: int = 0


class Scaling(BaseModel):
    """``status`` is ``None`` where no autoscaler runs."""

    status: ScalingStatus | None
    decisions: list[ScalingDecision]  # newest first


def publish(redis: Redis, namespace: str, status: ScalingStatus, ttl_s: float) -> None:
    """Make the state known for ``ttl_s`` seconds."""
    redis.set(f"{namespace}:scaling", status.model_dump_json(), px=int(ttl_s * 1000))


def tell(redis: Redis, namespace: str, decision: ScalingDecision) -> None:
    fields: dict[Any, Any] = {"decision": decision.model_dump_json()}
    redis.xadd(decisions_key(namespace), fields, maxlen=KEPT, approximate=False)


def read(redis: Redis, namespace: str, limit: int = 50) -> Scaling:
    """The state, and the last decisions."""
    found = redis.get(f"{namespace}:scaling")
    entries: Any = redis.xrevrange(decisions_key(namespace), count=limit)
    return Scaling(
        status=ScalingStatus.model_validate_json(text(found)) if found else None,
        decisions=[
            ScalingDecision.model_validate_json(text(fields[b"decision"])) for _, fields in entries
        ],
    )


def set_cap(redis: Redis, namespace: str, cap: int | None) -> None:
    """Change the most machines there may be; ``None``: what the autoscaler was started with."""
    if cap is None:
        redis.delete(f"{namespace}:scaling:cap")
    else:
        redis.set(f"{namespace}:scaling:cap", cap)


def read_cap(redis: Redis, namespace: str) -> int | None:
    found = redis.get(f"{namespace}:scaling:cap")
    return int(text(found)) if found else None


def leader_key(namespace: str) -> str:
    return f"{namespace}:scaling:leader"


def decisions_key(namespace: str) -> str:
    return f"{namespace}:scaling:decisions"
