"""Ended jobs whose parts nobody needs any more, until somebody has removed them.

An id is put down in the transaction that ends its job. The worker removes the parts and takes
the id off; what it did not get to, as it was killed or the storage was away, the API does later.
"""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.client import Pipeline

from shoal.model.record import now, text


class Cleanup:
    """The key ``cleanup``: a sorted set, id -> time from which it may be done."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.key = f"{namespace}:cleanup"

    def add(self, pipe: Pipeline, job_id: str) -> None:
        pipe.zadd(self.key, {job_id: now()})

    def drop(self, pipe: Pipeline, job_id: str) -> None:
        """The job is queued again, so that its next attempt needs them; or it is forgotten."""
        pipe.zrem(self.key, job_id)

    def done(self, job_id: str, kept_for_s: float = 0.0) -> None:
        """They are removed, but for checkpoints that are kept for some more seconds."""
        if kept_for_s:
            self.later(job_id, kept_for_s)
        else:
            self.redis.zrem(self.key, job_id)

    def later(self, job_id: str, pause_s: float) -> None:
        """They could not be removed: somebody tries again after a pause."""
        self.redis.zadd(self.key, {job_id: now() + pause_s}, xx=True)

    def due(self, age_s: float, count: int) -> list[str]:
        """Up to ``count`` ids that could be done since ``age_s`` seconds, the oldest first."""
        since = now() - age_s
        found: Any = self.redis.zrangebyscore(self.key, "-inf", since, start=0, num=count)
        return [text(job_id) for job_id in found]
