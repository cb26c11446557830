"""A worker's hold on a job, and what happens to jobs whose worker is gone.

Taking a job raises ``Record.attempt``: that number is the fence. Every later write checks it in
the same transaction, so a worker that was frozen, cut off or declared dead can change nothing.
Times are those of the Redis server: the machines' clocks need not agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from redis.client import Pipeline

from shoal.errors import LeaseLost, UnreadableRecord
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import AttemptRecord, Phase, Progress, Record, TimelineEvent, now
from shoal.queue import result_sizes
from shoal.queue.connection import redis_time
from shoal.queue.poison import DEADLY, MAX_DEATHS, interruption, poisonous
from shoal.queue.queue import JobQueue
from shoal.queue.split import hand_over, segment_ids

VIDEOS = (".mp4", ".webm")  # of the results, what could be taken for an upload

log = logging.getLogger(__name__)


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
            until = redis_time(pipe) + queue.lease_s
            pipe.multi()
            pipe.lrem(queue.rq.intermediate_queue_key, 0, job_id)
            if record and (record.state, record.worker) == (State.RUNNING, worker):
                return record  # taken already: the answer was lost
            if record is None or record.state != State.QUEUED:
                return None
            if record.cancel_requested:  # as an earlier release left it
                queue.finish(pipe, record, State.CANCELLED)
                return None
            at = now()
            changes: dict[str, Any] = {
                "state": State.RUNNING,
                "attempt": record.attempt + 1,
                "begun_at": record.begun_at or at,
                "started_at": at,
                "worker": worker,
                "host": host,
                "hourly_price": hourly_price,
                "progress": Progress(),
                "priority": record.share.priority.value,
            }
            gone = ("error", "finished_at", "saved_at", "retry_at")
            queue.records.update(pipe, record, **changes, **dict.fromkeys(gone))
            queue.records.record_event(
                pipe, job_id, "started", worker=worker, attempt=record.attempt + 1
            )
            pipe.zadd(queue.leases_key, {job_id: until})
            return record.model_copy(update=changes)

        record = queue.transaction(job_id, change)
        return cls(queue, record) if record else None

    def heartbeat(self, progress: Progress) -> bool:
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
                self.queue.records.record_event(
                    pipe, record.id, "progress", frames=progress.frames, fps=progress.fps
                )

        return self._change(renew).cancel_requested

    def check(self) -> bool:
        """Make sure that this attempt still owns the job.

        Returns:
            Whether a user asked to cancel.
        """
        return self._change(lambda pipe, record, redis_now: None).cancel_requested

    def record_event(self, event: str, **detail: Any) -> None:
        """Add to the job's timeline."""

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.record_event(pipe, record.id, event, **detail)
            if event == "part":
                self.queue.records.update(
                    pipe, record, saved_at=round(now(), 3), losses=None, unsaved=None
                )

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
            pipe.delete(self.queue.records.links.key(record.id))  # nobody needs it any more
            sizes = (size for name, size in results.items() if name.endswith(VIDEOS))
            result_sizes.note(pipe, self.queue.name, sizes)
            done = record.model_copy(update={"results": results, "summary": summary})
            self.queue.finish(pipe, done, State.SUCCEEDED)

        self._change(change, look)

    def hand_over(self, phase: Phase, plan: str, segments: int) -> None:
        """The job goes on with its segments, and waits for them: see ``shoal.queue.split``.

        Args:
            plan: name of the file that says where they lie.
        """
        split = {"phase": phase, "plan": plan, "segment_count": segments}
        ids = segment_ids(self.record.model_copy(update=split))
        known: list[Record] = []

        def look() -> None:
            known[:] = self.queue.records.read_all(ids)

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            by_id = {each.id: each for each in known}
            hand_over(self.queue, pipe, record.model_copy(update=split), by_id)

        self._change(change, look)

    def cancel(self) -> None:
        """The job was stopped at a user's wish."""

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            self.queue.records.end_attempt(pipe, record, "cancelled")
            self.queue.finish(pipe, record, State.CANCELLED)

        self._change(change)

    def fail(self, failure: Failure, log: Sequence[str] = ()) -> None:
        """Record a failure; a transient one is tried again, up to the limit.

        What is away, such as a storage, is given time to come back: the job waits for a while, and
        others go first. A lost model process is no such failure: a new one is loaded anyway.

        A job that a user asked to cancel is cancelled instead; its attempt keeps the failure.

        Args:
            log: the last lines of the model process.
        """
        deadly = failure.code in DEADLY
        attempts: list[AttemptRecord] = []

        def look() -> None:
            attempts[:] = self.queue.records.attempts(self.record.id)

        def change(pipe: Pipeline, record: Record, redis_now: float) -> None:
            attempt = self.queue.records.end_attempt(pipe, record, "failed", failure, log)
            if record.cancel_requested:
                self.queue.finish(pipe, record, State.CANCELLED)
                return
            deaths, losses = record.model_deaths + deadly, record.losses
            final = failure
            if deadly and deaths + losses >= MAX_DEATHS:
                final = poisonous(
                    [*attempts, attempt], losses=losses, model_deaths=deaths, last=failure
                )
            again = final.transient and record.failures < self.queue.retries
            detail = final.model_dump(include={"code", "message", "hint"})
            self.queue.records.record_event(
                pipe, record.id, "failure", **detail, worker=record.worker, will_retry=again
            )
            if not again:
                self.queue.finish(pipe, record, State.FAILED, final)
                return
            pause_s = 0.0 if deadly else self.queue.delayed.pause_s(record.failures)
            retry_at = round(redis_now + pause_s, 3) if pause_s else None
            self._try_again(pipe, record, failure, deaths, retry_at)

        self._change(change, look)

    def _try_again(
        self, pipe: Pipeline, record: Record, failure: Failure, deaths: int, retry_at: float | None
    ) -> None:
        counts = {"failures": record.failures + 1, "model_deaths": deaths}
        self.queue.requeue(pipe, record, at_front=False, retry_at=retry_at, error=failure, **counts)
        when = {"retry_at": retry_at} if retry_at else {}
        self.queue.records.record_event(
            pipe, record.id, "queued", retry=record.failures + 1, **when
        )

    def give_back(self) -> None:
        """The worker must go: the job continues elsewhere, and nothing counts against it.

        It is first in line, unless this is not the first time in a row that no part was saved. A
        job that a user asked to cancel is cancelled instead.
        """

        def change(pipe: Pipeline, record: Record, _: float) -> None:
            cut = interruption(record, lost=False)
            self.queue.records.end_attempt(pipe, record, "preempted")
            if record.cancel_requested:
                self.queue.finish(pipe, record, State.CANCELLED)
                return
            self.queue.records.record_event(
                pipe, record.id, "preempted", worker=record.worker, then=cut.then
            )
            counts = cut.counts | {"preemptions": record.preemptions + 1}
            self.queue.requeue(pipe, record, at_front=cut.then == "front", **counts)

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
            try:
                record = self.queue.read(pipe, self.record.id)
            except UnreadableRecord as error:  # whoever wrote it, it is not this attempt's job now
                raise LeaseLost(self.record.id) from error
            redis_now = redis_time(pipe)
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
