"""What has to be done now and then beside the reaper: a sample each minute, old jobs forgotten."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from shoal.model.job import State
from shoal.model.record import text
from shoal.queue.batches import Batches
from shoal.queue.connection import redis_time
from shoal.queue.indexes import ENDED
from shoal.queue.queue import JobQueue
from shoal.queue.stats import DAY_S, MINUTE_S, Sample, ended
from shoal.queue.workers import list_workers

FORGET_AT_ONCE = 200  # jobs, so that one round does not take long
# Of the jobs that have ended each process forgets no more than this share within a period: where
# more is due, a clock may be wrong. What comes with time is half of it at most.
SHARE = 0.1
LEAST = 20  # jobs, however few have ended
PERIOD_S = 3600.0  # or a twentieth of the time that jobs are remembered, if that is shorter


log = logging.getLogger(__name__)


class Maintenance:
    """Any number may run at once."""

    def __init__(
        self,
        queue: JobQueue,
        retention_days: float,
        needed_days: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        Args:
            retention_days: how long a job is remembered after it has ended; 0 is for ever.
            needed_days: for how long others need to know it.
        """
        self._needed_days = needed_days
        self.queue = queue
        self.batches = Batches(queue)
        self.retention_s = retention_days * DAY_S
        self._period_s = min(PERIOD_S, self.retention_s / 20)
        self._sampled = 0.0
        self._period_ends = 0.0
        self._forgotten = 0  # in this period
        self._is_logged = False

    def run(self) -> None:
        minute = redis_time(self.queue.redis) // MINUTE_S * MINUTE_S
        if minute != self._sampled:
            self.queue.records.totals.record(self._sample(minute))
            self._sampled = minute
            self.queue.callbacks.forget_old(minute)
        self.forget_old()

    def forget_old(self) -> list[str]:
        """Forget jobs that ended too long ago, the oldest first, and no more than a share of all.

        Returns:
            Their ids.
        """
        if not self.retention_s:
            return []
        redis, key = self.queue.redis, self.queue.records.indexes.key(ENDED)
        oldest = redis_time(redis) - max(self.retention_s, self._needed_days() * DAY_S)
        most = min(FORGET_AT_ONCE, self._left(redis.zcard(key)))
        found: Any = redis.zrangebyscore(key, "-inf", oldest, start=0, num=most + 1)
        ids = [text(job_id) for job_id in found[:most]]
        self._forgotten += len(ids)
        for job_id in ids:
            self.queue.forget(job_id)
        if len(found) > most < FORGET_AT_ONCE and not self._is_logged:
            self._is_logged = True
            log.warning(
                "more jobs are due to be forgotten than expected: no more than %d within %.0f s; "
                "is the clock of Redis right, or was SHOAL_RETENTION_DAYS lowered?",
                self._forgotten,
                self._period_s,
            )
        self.batches.forget_old(oldest, FORGET_AT_ONCE)
        return ids

    def _left(self, ended: int) -> int:
        """How many of the jobs that have ended may be forgotten in what is left of the period."""
        at = time.monotonic()
        if at >= self._period_ends:
            self._period_ends, self._forgotten, self._is_logged = at + self._period_s, 0, False
        most = max(LEAST, int(SHARE * (ended + self._forgotten)))
        return max(0, most - self._forgotten)

    def _sample(self, minute: float) -> Sample:
        depth = self.queue.depth()
        totals = self.queue.records.totals.read()
        return Sample(
            at=minute,
            queued=depth.queued,
            running=depth.running,
            oldest_queued_s=round(depth.oldest_queued_s, 1),
            workers=len(list_workers(self.queue.redis, self.queue.name)),
            succeeded=ended(totals, State.SUCCEEDED),
            failed=ended(totals, State.FAILED),
            frames=int(totals.get("frames", 0)),
        )
