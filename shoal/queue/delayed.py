"""Jobs that wait for their next attempt beside the queue, so that other videos go first meanwhile.

A job in here is in the state 'queued'; ``Record.retry_at`` says until when it waits. Reapers and
workers move those whose time has come to the queue (``JobQueue.release_due``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shoal.model.record import text
from shoal.queue.connection import redis_time

JITTER = 0.2  # of a pause, more or less: what failed together does not come back together
AT_ONCE = 100


class Delayed:
    """The key ``retries``: a sorted set, id -> time (of the Redis clock) of the next attempt.

    Args:
        pauses_s: before the first, second, ... retry of a job; the last one also before all
            others. None: no pauses.
    """

    def __init__(self, redis: Redis, namespace: str, pauses_s: Sequence[float]) -> None:
        self.redis = redis
        self.key = f"{namespace}:retries"
        self._pauses_s = tuple(pauses_s)

    def pause_s(self, failures: int) -> float:
        """How long a job waits that has been tried again ``failures`` times before; 0: not."""
        if not self._pauses_s:
            return 0.0
        pause_s = self._pauses_s[min(failures, len(self._pauses_s) - 1)]
        return pause_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret

    def due(self) -> list[str]:
        """Ids whose time has come, the first that were due first."""
        at = redis_time(self.redis)
        found: Any = self.redis.zrangebyscore(self.key, "-inf", at, start=0, num=AT_ONCE)
        return [text(job_id) for job_id in found]

    def holds(self, pipe: Pipeline, job_id: str) -> bool:
        """Whether a job waits here, as a transaction sees it."""
        found: Any = pipe.zscore(self.key, job_id)
        return found is not None

    def add(self, pipe: Pipeline, job_id: str, at: float) -> None:
        pipe.zadd(self.key, {job_id: at})

    def drop(self, pipe: Pipeline, job_id: str) -> None:
        pipe.zrem(self.key, job_id)
