"""What has to be done now and then beside the reaper: a sample each minute, old jobs forgotten."""

from __future__ import annotations

from typing import Any

from shoal.batches import Batches
from shoal.indexes import ENDED
from shoal.jobs import State
from shoal.queue import JobQueue
from shoal.records import now, text
from shoal.totals import MINUTE_S, Sample, ended
from shoal.workers import list_workers

FORGET_AT_ONCE = 200  # jobs, so that one round does not take long
DAY_S = 24 * 3600


class Upkeep:
    """Any number may run at once."""

    def __init__(self, queue: JobQueue, retention_days: float) -> None:
        """``retention_days``: how long a job is remembered after it has ended; 0 is for ever."""
        self.queue = queue
        self.batches = Batches(queue)
        self.retention_s = retention_days * DAY_S
        self._sampled = 0.0

    def run(self) -> None:
        minute = now() // MINUTE_S * MINUTE_S
        if minute > self._sampled:
            self.queue.records.totals.record(self._sample(minute))
            self._sampled = minute
        self.forget_old()

    def forget_old(self) -> list[str]:
        """Forget jobs that ended too long ago, the oldest first; returns their ids."""
        if not self.retention_s:
            return []
        key = self.queue.records.indexes.key(ENDED)
        oldest = now() - self.retention_s
        found: Any = self.queue.redis.zrangebyscore(
            key, "-inf", oldest, start=0, num=FORGET_AT_ONCE
        )
        ids = [text(job_id) for job_id in found]
        for job_id in ids:
            self.queue.forget(job_id)
        self.batches.forget_old(oldest, FORGET_AT_ONCE)
        return ids

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
