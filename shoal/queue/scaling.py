"""What the autoscaler makes known: its state, its decisions, and the cap that users set.

Keys, below the queue's name: ``scaling`` the state, which lapses when nobody renews it;
``scaling:decisions`` a capped stream; ``scaling:cap`` a number; ``scaling:leader`` a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shoal.model.record import text
from shoal.model.scaling import ScalingDecision, ScalingStatus
from shoal.queue.unreadable import readable

if TYPE_CHECKING:  # the API reads these models, and so may a client without Redis
    from redis import Redis

KEPT = 500  # decisions


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
    status = readable("scaling", [("status", found)] if found else [], _status)
    decisions = readable("scaling", ((text(i), fields) for i, fields in entries), _decision)
    return Scaling(
        status=status[0][1] if status else None, decisions=[each for _, each in decisions]
    )


def _status(value: bytes) -> ScalingStatus:
    return ScalingStatus.model_validate_json(value)


def _decision(fields: dict[bytes, bytes]) -> ScalingDecision:
    return ScalingDecision.model_validate_json(fields[b"decision"])


def set_cap(redis: Redis, namespace: str, cap: int | None) -> None:
    """Change the most machines there may be; ``None``: what the autoscaler was started with.

    With 0 all of SkyPilot's workers drain, those that are just starting as well.
    """
    if cap is None:
        redis.delete(cap_key(namespace))
    else:
        redis.set(cap_key(namespace), cap)


def read_cap(redis: Redis, namespace: str) -> int | None:
    found = redis.get(cap_key(namespace))
    caps = readable("scaling", [("cap", found)] if found else [], int)
    return caps[0][1] if caps else None


def cap_key(namespace: str) -> str:
    return f"{namespace}:scaling:cap"


def leader_key(namespace: str) -> str:
    return f"{namespace}:scaling:leader"


def decisions_key(namespace: str) -> str:
    return f"{namespace}:scaling:decisions"
