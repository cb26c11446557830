"""Returns jobs of vanished workers to the queue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.client import Pipeline

from shoal.errors import UnreadableRecord
from shoal.model.job import State
from shoal.model.record import AttemptRecord, Record, text
from shoal.queue.connection import redis_time
from shoal.queue.lease import log
from shoal.queue.poison import interruption, poisonous
from shoal.queue.queue import JobQueue
from shoal.queue.rq import remove_debris
from shoal.queue.split import Splits


class Reaper:
    """Gives jobs back to the queue whose worker is gone. Runs wherever the API runs.

    A job that has cost too many workers fails instead: see ``shoal.queue.poison``. Several reapers
    may run at once: each job is moved in a transaction on its record.
    """

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self._splits = Splits(queue)
        self._in_transit: dict[str, float] = {}  # id between queue and worker -> first seen

    def sweep(self) -> list[str]:
        """Requeue what was abandoned, and queue what is due to be tried again; returns the ids of
        what was abandoned."""
        self._shorten_leases()
        self.queue.line.heal()
        remove_debris(self.queue.rq, self.queue.leases_key)
        self.queue.release_due()
        running = [job_id for job_id in self._lapsed() if self._revive(job_id, State.RUNNING)]
        queued = [job_id for job_id in self._stranded() if self._revive(job_id, State.QUEUED)]
        self._splits.advance_all()
        return running + queued

    def _shorten_leases(self) -> None:
        """No lease is longer than one that is taken now: the clock of Redis may have gone back.

        The worker that has it renews it with its next heartbeat. Those of a longer setting than
        ours, up to twice as long, are left alone.
        """
        redis_now, lease_s = redis_time(self.queue.redis), self.queue.lease_s
        key = self.queue.leases_key
        found: Any = self.queue.redis.zrangebyscore(key, redis_now + 2 * lease_s, "+inf")
        for job_id in found:
            self.queue.redis.zadd(key, {job_id: redis_now + lease_s}, xx=True, lt=True)

    def _lapsed(self) -> list[str]:
        """Ids of running jobs whose lease has ended."""
        redis_now = redis_time(self.queue.redis)
        return [
            text(i) for i in self.queue.redis.zrangebyscore(self.queue.leases_key, 0, redis_now)
        ]

    def _stranded(self) -> list[str]:
        """Ids that left the queue a lease ago and that no worker has started."""
        key = self.queue.rq.intermediate_queue_key
        present = {text(job_id) for job_id in self.queue.redis.lrange(key, 0, -1)}
        at = time.monotonic()
        self._in_transit = {job_id: self._in_transit.get(job_id, at) for job_id in present}
        return [i for i, seen in self._in_transit.items() if at - seen > self.queue.lease_s]

    def _revive(self, job_id: str, expected: State) -> bool:
        def change(pipe: Pipeline) -> bool:
            record = self.queue.read(pipe, job_id)
            attempts = self.queue.records.attempts(job_id)
            until: Any = pipe.zscore(self.queue.leases_key, job_id)
            renewed = until is not None and until > redis_time(pipe)
            is_back = expected == State.QUEUED and not self.queue.in_transit(pipe, job_id)
            pipe.multi()
            if record is None or record.state != expected or renewed or is_back:
                if record is None or record.state.is_final:  # debris
                    pipe.zrem(self.queue.leases_key, job_id)
                    pipe.lrem(self.queue.rq.intermediate_queue_key, 0, job_id)
                return False
            if expected == State.RUNNING:
                attempts.append(self.queue.records.end_attempt(pipe, record, "lost"))
            if record.cancel_requested:
                self.queue.finish(pipe, record, State.CANCELLED)
            elif expected == State.RUNNING:
                self._count_loss(pipe, record, attempts)
            else:  # on its way to a worker: no one has begun
                self.queue.records.record_event(pipe, job_id, "lost", worker=record.worker)
                self.queue.requeue(pipe, record, at_front=True)
            return True

        try:
            revived = self.queue.transaction(job_id, change)
        except UnreadableRecord:  # logged where it was met; another release's worker may have it
            return False
        if revived:
            log.warning("job %s: its worker is gone", job_id)
        return revived

    def _count_loss(
        self, pipe: Pipeline, record: Record, attempts: Sequence[AttemptRecord]
    ) -> None:
        """Queue a job again whose worker vanished, or give it up: see ``shoal.queue.poison``."""
        cut = interruption(record, lost=True)
        detail = {"worker": record.worker, "host": record.host, "then": cut.then}
        progress = record.progress.model_dump(include={"stage", "frames"})
        self.queue.records.record_event(pipe, record.id, "lost", **detail, **progress, **cut.counts)
        if cut.then != "failed":
            self.queue.requeue(pipe, record, at_front=cut.then == "front", **cut.counts)
            return
        self.queue.records.update(pipe, record, **cut.counts)
        error = poisonous(
            attempts, losses=cut.counts["losses"], model_deaths=record.model_deaths, last=None
        )
        self.queue.finish(pipe, record, State.FAILED, error)
