"""What was done so far, and how the queue stood minute by minute.

``totals`` is a hash of sums that only grow: ``jobs:<state>[:<code>]`` ended and the same of
``segments``, of which seconds and dollars count with those of jobs; ``attempts:<outcome>``
and the ``seconds:<outcome>`` and dollars (``cost:<outcome>``) they took, ``wasted:seconds`` and
``wasted:cost`` of those that were interrupted, ``stage:<name>`` in seconds, and
``frames`` and ``video_seconds`` of succeeded jobs.
``history`` is a stream with one sample a minute of the last day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shoal.model.record import Amount, At, Count, text
from shoal.queue.unreadable import readable

if TYPE_CHECKING:  # the client reads the records' models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

MINUTE_S = 60
DAY_S = 24 * 3600
SAMPLES_KEPT = 24 * 60


class Sample(BaseModel):
    """The queue at one minute. The sums are those of all time."""

    at: At  # seconds since the epoch, a whole minute
    queued: Count
    running: Count
    oldest_queued_s: Amount
    workers: Count
    succeeded: Count
    failed: Count
    frames: Count


class Stats:
    """Sums, written inside a caller's transaction, and the samples."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.key = f"{namespace}:totals"
        self.history_key = f"{namespace}:history"

    def add(self, pipe: Pipeline, name: str, amount: float) -> None:
        pipe.hincrbyfloat(self.key, name, amount)

    def read(self) -> dict[str, float]:
        found: Any = self.redis.hgetall(self.key)
        entries = ((text(name), value) for name, value in found.items())
        return dict(readable("sum", entries, _finite))

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
            self._forget_the_future(sample.at)

    def _forget_the_future(self, at: float) -> None:
        """Remove samples of later minutes: the clock has gone back. A stream takes no entry before
        any that it ever had, so it is made anew."""
        last = int((at + MINUTE_S) * 1000)
        if not self.redis.xrange(self.history_key, min=f"{last + 1}-0", count=1):
            return
        kept: Any = self.redis.xrange(self.history_key, max=f"{last}-1")
        pipe = self.redis.pipeline()
        pipe.delete(self.history_key)
        for entry_id, fields in kept:
            pipe.xadd(self.history_key, fields, id=entry_id)
        pipe.execute()

    def history(self, since: float) -> list[Sample]:
        """The samples from a time on, oldest first."""
        found: Any = self.redis.xrange(self.history_key, min=f"{int(since * 1000)}-0")
        entries = ((text(entry_id), (entry_id, fields)) for entry_id, fields in found)
        return [sample for _, sample in readable("sample", entries, _sample)]


def _finite(value: bytes) -> float:
    """
    Raises:
        ValueError
    """
    number = float(value)
    if not abs(number) <= 1e18:
        raise ValueError("not a sum")
    return number


def _sample(entry: tuple[bytes, dict[bytes, bytes]]) -> Sample:
    entry_id, fields = entry
    values = {text(name): _finite(value) for name, value in fields.items()}
    return Sample(at=int(entry_id.partition(b"-")[0]) / 1000, **values)


def ended(totals: dict[str, float], state: str) -> int:
    """Jobs that ended in a state, of all causes."""
    prefix = f"jobs:{state}"
    return int(sum(n for k, n in totals.items() if k == prefix or k.startswith(prefix + ":")))
