"""A worker's hold on a job, and what happens to jobs whose worker is gone.

Taking a job raises ``Record.attempt``: that number is the fence. Every later write checks it in
the same transaction, so a worker that was frozen, cut off or declared dead can change nothing.
Times are those of the Redis server: the machines' clocks need not agree.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shoal.errors import (
    Failure,
    GpuError,
    LeaseLost,
    ModelProcessDied,
    ModelStalled,
    OutOfMemory,
    PoisonousVideo,
)
from shoal.jobs import State
from shoal.queue import JobQueue
from shoal.records import Progress, Record, TimelineEvent, now, text
from shoal.rq_debris import remove_debris

log = logging.getLogger(__name__)

# Failures that cost a model process.
DEADLY = (ModelProcessDied.code, OutOfMemory.code, ModelStalled.code, GpuError.code)
MAX_MODEL_DEATHS = 3


class Lease:
    """One attempt at a job. Every method raises ``LeaseLost`` once the job is somebody else's."""

    def __init__(self, queue: JobQueue, record: Record) -> None:
        self.queue = queue
        self.record = record
        self._told_tenths = 0
        self._moved: tuple[str, int, float] = ("", 0, now())  # stage, frames, since when

    @classmethod
    def take(
        cls,
        queue: JobQueue,
        job_id: str,
        worker: str,
        host: str = "",
        hourly_price: float = 0.0,
    ) -> Lease | None:
        """Start an attempt at a dequeued job; ``None`` if it is no longer to be done.

        Args:
            host: the worker's machine.
            hourly_price: of that machine, in US dollars; 0: not known.
        """

        def change(pipe: Pipeline) -> Record | None:
            record = queue.read(pipe, job_id)
            until = _redis_time(pipe) + queue.lease_s
            pipe.multi()
            pipe.lrem(queue.rq.intermediate_queue_key, 0, job_id)
            if record is None or record.state != State.QUEUED:
                return None
            changes: dict[str, Any] = {
                "state": State.RUNNING,
                "attempt": record.attempt + 1,
                "started_at": now(),
                "worker": worker,
                "hourly_price": hourly_price,
                "host": host,
                "progress": Progress(),
            }
            gone = ("error", "finished_at", "cancel_requested", "priority", "saved_at")
            queue.records.update(pipe, record, **changes, **dict.fromkeys(gone))
            queue.records.tell(pipe, job_id, "started", worker=worker, attempt=record.attempt + 1)
            pipe.zadd(queue.leases_key, {job_id: until})
            return record.model_copy(update=changes)

        record = queue.transaction(job_id, change)
        return cls(queue, record) if record else None

    def beat(self, progress: Progress) -> bool:
        """Renew the lease and report progress.

        Returns:
            Whether a user asked to cancel.
        """

        if self._moved[:2] != (progress.stage, progress.frames):
            self._moved = (progress.stage, progress.frames, round(now(), 3))
        shown = progress.model_copy(update={"moved_at": self._moved[2]})

        def renew(pipe: Pipeline, record: Record, redis_now: float) -> None:
            self.queue.records.update(pipe, record, progress=shown)
            pipe.zadd(self.queue.leases_key, {record.id: redis_now + self.queue.lease_s})
            tenths = 10 * progress.frames // max(1, progress.frames_expected)
            if progress.frames_expected and self._told_tenths < tenths < 10:
                self._told_tenths = tenths
                self.queue.records.tell(
                    pipe, record.id, "progress", frames=progress.frames, fps=progress.fps
                )

        return self._change(renew).cancel_requested

    def check(self) -> None:
        """Make sure that this attempt still owns the job."""
        self._change(lambda pipe, record, redis_now: None)

    def tell(self, event: str, **detail: Any) -> None:
        """Add to the job's timeline."""

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.tell(pipe, record.id, event, **detail)
            if event == "part":
                self.queue.records.update(pipe, record, saved_at=round(now(), 3))

        self._change(change)

    def succeed(
        self,
        results: dict[str, int],
        summary: dict[str, Any],
        timings: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """The results are published: the job is done.

        Args:
            timings: seconds by stage.
        """

        events: list[TimelineEvent] = []

        def look() -> None:
            events[:] = self.queue.records.timeline(self.record.id)

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.shorten(pipe, record.id, events)
            self.queue.records.update(pipe, record, results=results, summary=summary)
            self.queue.records.end_attempt(pipe, record, "succeeded")
            self.queue.records.totals.add(pipe, "frames", summary.get("frames_processed", 0))
            self.queue.records.totals.add(pipe, "video_seconds", summary.get("duration_s", 0))
            for stage, seconds in timings.items():
                self.queue.records.totals.add(pipe, f"stage:{stage}", round(seconds, 3))
            done = record.model_copy(update={"results": results, "summary": summary})
            self.queue.finish(pipe, done, State.SUCCEEDED)

        self._change(change, look)

    def cancel(self) -> None:
        """The job was stopped at a user's wish."""

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.end_attempt(pipe, record, "cancelled")
            self.queue.finish(pipe, record, State.CANCELLED)

        self._change(change)

    def fail(self, failure: Failure, log: Sequence[str] = ()) -> None:
        """Record a failure; a transient one is tried again, up to the limit.

        Args:
            log: the last lines of the model process.
        """
        deadly = failure.code in DEADLY

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.end_attempt(pipe, record, "failed", failure, log)
            deaths = record.model_deaths + deadly
            final = _poisonous(failure) if deaths >= MAX_MODEL_DEATHS else failure
            again = final.transient and record.failures < self.queue.retries
            detail = final.model_dump(include={"code", "message", "hint"})
            self.queue.records.tell(
                pipe, record.id, "failure", **detail, worker=record.worker, will_retry=again
            )
            if again:
                counts = {"failures": record.failures + 1, "model_deaths": deaths}
                self.queue.requeue(pipe, record, at_front=False, error=failure, **counts)
                self.queue.records.tell(pipe, record.id, "queued", retry=record.failures + 1)
            else:
                self.queue.finish(pipe, record, State.FAILED, final)

        self._change(change)

    def give_back(self) -> None:
        """The worker must go: the job continues elsewhere, first in line, nothing counted."""

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.end_attempt(pipe, record, "preempted")
            self.queue.records.tell(pipe, record.id, "preempted", worker=record.worker)
            self.queue.requeue(pipe, record, at_front=True, preemptions=record.preemptions + 1)

        self._change(change)

    def _change(
        self,
        write: Callable[[Pipeline, Record, float], None],
        look: Callable[[], None] = lambda: None,
    ) -> Record:
        """Write if this attempt still owns the job; returns the record as it was before.

        Args:
            look: reads what ``write`` needs to know; again if the record changes meanwhile.
        """

        def change(pipe: Pipeline) -> Record:
            record = self.queue.read(pipe, self.record.id)
            redis_now = _redis_time(pipe)
            if (
                record is None
                or record.state != State.RUNNING
                or record.attempt != self.record.attempt
                or record.worker != self.record.worker  # a Redis that lost a write counts twice
            ):
                raise LeaseLost(self.record.id)
            look()
            pipe.multi()
            write(pipe, record, redis_now)
            return record

        return self.queue.transaction(self.record.id, change)


class Reaper:
    """Gives jobs back to the queue whose worker is gone. Runs wherever the API runs.

    Several may run at once: each job is moved in a transaction on its record.
    """

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self._in_transit: dict[str, float] = {}  # id between queue and worker -> first seen

    def sweep(self) -> list[str]:
        """Requeue what was abandoned; returns the ids."""
        remove_debris(self.queue.rq, _redis_time(self.queue.redis))
        running = [job_id for job_id in self._lapsed() if self._revive(job_id, State.RUNNING)]
        queued = [job_id for job_id in self._stranded() if self._revive(job_id, State.QUEUED)]
        return running + queued

    def _lapsed(self) -> list[str]:
        """Ids of running jobs whose lease has ended."""
        redis_now = _redis_time(self.queue.redis)
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
            until: Any = pipe.zscore(self.queue.leases_key, job_id)
            renewed = until is not None and until > _redis_time(pipe)
            pipe.multi()
            if record is None or record.state != expected or renewed:
                if record is None or record.state.is_final:  # debris
                    pipe.zrem(self.queue.leases_key, job_id)
                    pipe.lrem(self.queue.rq.intermediate_queue_key, 0, job_id)
                return False
            if expected == State.RUNNING:
                self.queue.records.end_attempt(pipe, record, "lost")
            if record.cancel_requested:
                self.queue.finish(pipe, record, State.CANCELLED)
                return True
            self.queue.records.tell(pipe, job_id, "lost", worker=record.worker)
            self.queue.requeue(pipe, record, at_front=True)
            return True

        revived = self.queue.transaction(job_id, change)
        if revived:
            log.warning("job %s: its worker is gone, back to the queue", job_id)
        return revived


def _poisonous(last: Failure) -> Failure:
    """What a job fails with that cost one model process after the other."""
    cause = f"it cost {MAX_MODEL_DEATHS} model processes; the last time {last.message}"
    return Failure.of(PoisonousVideo(cause)).model_copy(update={"traceback": last.traceback})


def _redis_time(connection: Redis) -> float:
    """The server's clock, in seconds; not inside the MULTI part of a transaction."""
    seconds, micros = connection.time()
    return float(seconds + micros / 1e6)
