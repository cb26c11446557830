"""What was done so far, and how the queue stood minute by minute.

``totals`` is a hash of sums that only grow: ``jobs:<state>[:<code>]`` ended, ``attempts:<outcome>``
and the ``seconds:<outcome>`` and dollars (``cost:<outcome>``) they took, ``wasted:seconds`` and
``wasted:cost`` of those that were interrupted, ``stage:<name>`` in seconds, and
``frames`` and ``video_seconds`` of succeeded jobs.
``history`` is a stream with one sample a minute of the last day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:  # the client reads the records' models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

MINUTE_S = 60
SAMPLES_KEPT = 24 * 60


class Sample(BaseModel):
    """The queue at one minute. The sums are those of all time."""

    at: float  # seconds since the epoch, a whole minute
    queued: int
    running: int
    oldest_queued_s: float
    workers: int
    succeeded: int
    failed: int
    frames: int


class Totals:
    """Sums, written inside a caller's transaction, and the samples."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.key = f"{namespace}:totals"
        self.history_key = f"{namespace}:history"

    def add(self, pipe: Pipeline, name: str, amount: float) -> None:
        pipe.hincrbyfloat(self.key, name, amount)

    def read(self) -> dict[str, float]:
        found: Any = self.redis.hgetall(self.key)
        return {name.decode(): float(value) for name, value in found.items()}

    def record(self, sample: Sample) -> None:
        """Add a sample, unless this minute has one: any number of processes may try."""
        from redis import ResponseError

        values: dict[Any, Any] = sample.model_dump(exclude={"at"})
        try:
            self.redis.xadd(
                self.history_key,
                values,
                id=f"{int(sample.at * 1000)}-1",
                maxlen=SAMPLES_KEPT,
                approximate=False,
            )
        except ResponseError as error:
            if "equal or smaller" not in str(error):
                raise

    def history(self, since: float) -> list[Sample]:
        """The samples from a time on, oldest first."""
        found: Any = self.redis.xrange(self.history_key, min=f"{int(since * 1000)}-0")
        return [
            Sample(
                at=int(entry_id.partition(b"-")[0]) / 1000,
                **{key.decode(): float(value) for key, value in fields.items()},
            )
            for entry_id, fields in found
        ]


def ended(totals: dict[str, float], state: str) -> int:
    """Jobs that ended in a state, of all causes."""
    prefix = f"jobs:{state}"
    return int(sum(n for k, n in totals.items() if k == prefix or k.startswith(prefix + ":")))
