"""Changes of a job's state: the building blocks of the queue, the leases and the reaper.

Every change is one Redis transaction that watches the job's record: record, timeline and queue
never disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.executions import ExecutionRegistry
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from shoal.errors import UnreadableRecord
from shoal.model.failure import Failure
from shoal.model.ids import is_job_id
from shoal.model.job import State
from shoal.model.record import VERSION, Record, now
from shoal.queue.cleanup import Cleanup
from shoal.queue.connection import redis_errors
from shoal.queue.delayed import Delayed
from shoal.queue.line import Line
from shoal.queue.records import Records
from shoal.queue.rq import SAMPLE_ID, EntryTemplate
from shoal.queue.webhooks import Outbox

T = TypeVar("T")

PROCESS = "worker.parent.process_video"  # the only function a worker runs
FAILED_TTL_S = 7 * 24 * 3600  # how long RQ's own tools show a failed job


class Transitions:
    """The jobs of one queue, and how their states change.

    Attributes:
        line: the order in which queued jobs start.
        rq: RQ's queue of the same name.
        delayed: jobs that wait beside the line for their next attempt.
        cleanup: ended jobs that may have left something in storage.
        retries: of a transient failure.
        lease_s: how long a worker may be silent.
    """

    def __init__(
        self,
        connection: Redis,
        name: str,
        *,
        retries: int,
        lease_s: float,
        retry_pauses_s: Sequence[float],
    ) -> None:
        self.redis = connection
        self.name = name
        self.retries = retries
        self.lease_s = lease_s
        self.records = Records(connection, name)
        self.delayed = Delayed(connection, name, retry_pauses_s)
        self.cleanup = Cleanup(connection, name)
        self.callbacks = Outbox(connection, name)
        self.rq = Queue(name, connection=connection, serializer=JSONSerializer)
        self.failed = FailedJobRegistry(name, connection=connection, serializer=JSONSerializer)
        self.entries = EntryTemplate(self.rq, self._rq_job(SAMPLE_ID))
        self.line = Line(
            connection,
            name,
            key=self.rq.key,
            transit=self.rq.intermediate_queue_key,
            leases=self.leases_key,
        )

    @property
    def leases_key(self) -> str:
        """Sorted set: id of a running job -> time (of the Redis clock) when its lease ends."""
        return f"{self.name}:leases"

    @property
    def deleted_key(self) -> str:
        """Sorted set of the ids of deleted jobs: only who submits one gets it back."""
        return f"{self.name}:deleted"

    @property
    def paused_key(self) -> str:
        return f"{self.name}:paused"

    def transaction(self, job_id: str, change: Callable[[Pipeline], T]) -> T:
        """Run ``change`` until nobody else wrote the record between its reads and its writes.

        ``change`` reads, calls ``pipe.multi()`` once, then writes. It runs again, too, when the
        answer to its writes was lost: it must see from what it reads whether they were made.
        """
        with redis_errors(), self.redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(self.records.key(job_id))  # type: ignore[no-untyped-call]
                    result = change(pipe)
                    pipe.execute()
                except redis.WatchError:
                    continue
                return result

    def read(self, pipe: Pipeline, job_id: str) -> Record | None:
        """The record as the transaction sees it.

        Raises:
            UnreadableRecord
        """
        fields: Any
        try:
            fields = pipe.hgetall(self.records.key(job_id)) if is_job_id(job_id) else None
        except redis.ResponseError as error:  # no hash
            fields = error
        return self.records.parsed(job_id, fields)

    def in_transit(self, pipe: Pipeline, job_id: str) -> bool:
        """Whether an id has left the line and no worker has begun with it."""
        return pipe.lpos(self.rq.intermediate_queue_key, job_id) is not None

    def push(self, pipe: Pipeline, record: Record, *, at_head: bool = False) -> None:
        """Put a job into the line, at the end of its source; the record is the caller's.

        Args:
            record: as it is after the transaction.
            at_head: before the others of its source.
        """
        pipe.zrem(self.failed.key, record.id)
        pipe.zrem(self.leases_key, record.id)
        self.delayed.drop(pipe, record.id)
        self.cleanup.drop(pipe, record.id)
        pipe.lrem(self.rq.intermediate_queue_key, 0, record.id)
        pipe.delete(ExecutionRegistry(record.id, self.redis).key)
        self.line.release(pipe, record)
        self.entries.write(pipe, record.id)
        self.line.push(pipe, record, at_head=at_head)

    def finish(
        self, pipe: Pipeline, record: Record, state: State, error: Failure | None = None
    ) -> None:
        """Bring a job to a final state, take it out of the queue, and put its callbacks down."""
        job_id, at = record.id, now()
        self.records.update(
            pipe,
            record,
            state=state,
            finished_at=at,
            error=error,
            cancel_requested=None,
            retry_at=None,
        )
        ended = {"state": state, "finished_at": at, "error": error}
        self.callbacks.enqueue(pipe, record.model_copy(update=ended), record.callbacks)
        self.records.record_event(
            pipe, job_id, state.value, **({"code": error.code} if error else {})
        )
        kind = "segments" if record.spec.segment else "jobs"
        self.records.totals.add(pipe, f"{kind}:{state}" + (f":{error.code}" if error else ""), 1)
        pipe.zrem(self.leases_key, job_id)
        self.delayed.drop(pipe, job_id)
        is_done = state == State.SUCCEEDED and not record.spec.segment  # its parts are for its job
        if record.attempt and (is_done or state == State.CANCELLED):
            self.cleanup.add(pipe, job_id)
        if record.state == State.QUEUED:
            self.line.remove(pipe, record)
        self.line.release(pipe, record)
        pipe.lrem(self.rq.intermediate_queue_key, 0, job_id)
        pipe.delete(Job.key_for(job_id), ExecutionRegistry(job_id, self.redis).key)
        if error:
            job = self._rq_job(job_id)
            job.set_status(JobStatus.FAILED, pipeline=pipe)
            self.failed.add(job, FAILED_TTL_S, f"{error.code}: {error.message}", pipeline=pipe)

    def requeue(
        self,
        pipe: Pipeline,
        record: Record,
        *,
        at_front: bool,
        retry_at: float | None = None,
        **changes: object,
    ) -> None:
        """Bring a running job back to the line, or have it wait beside it until ``retry_at``."""
        changes |= {
            "state": State.QUEUED,
            "queued_at": now(),
            "priority": "front" if at_front else record.share.priority.value,
            "retry_at": retry_at,
        }
        self.records.update(pipe, record, worker=None, host=None, **changes)
        if retry_at is None:
            self.push(pipe, record.model_copy(update=changes))
            return
        pipe.zrem(self.leases_key, record.id)
        pipe.lrem(self.rq.intermediate_queue_key, 0, record.id)
        pipe.delete(Job.key_for(record.id))
        self.line.release(pipe, record)
        self.delayed.add(pipe, record.id, retry_at)

    def release_due(self) -> list[str]:
        """Queue the jobs whose pause is over; returns their ids. Any number may do it at once."""
        return [job_id for job_id in self.delayed.due() if self.release(job_id)]

    def release(self, job_id: str) -> bool:
        """Put a job that waits for its next attempt at the end of its source; whether it waited."""

        def change(pipe: Pipeline) -> bool:
            record = self.read(pipe, job_id)
            waits = self.delayed.holds(pipe, job_id)
            pipe.multi()
            if record is None or record.state != State.QUEUED or not waits:
                self.delayed.drop(pipe, job_id)
                return False
            self.records.update(pipe, record, retry_at=None)
            self.push(pipe, record)
            return True

        try:
            return self.transaction(job_id, change)
        except UnreadableRecord:  # logged where it was met
            self.set_aside(job_id)
            return False

    def untake(self, job_id: str) -> None:
        """Put back an id that was dequeued but not started."""

        def change(pipe: Pipeline) -> None:
            record = self.read(pipe, job_id)
            is_taken = self.in_transit(pipe, job_id)  # else it was put back already
            pipe.multi()
            if record and record.state == State.QUEUED and is_taken:
                self.push(pipe, record, at_head=True)

        try:
            self.transaction(job_id, change)
        except UnreadableRecord:
            self.set_aside(job_id)

    def _rq_job(self, job_id: str) -> Job:
        return Job.create(
            PROCESS,
            args=[job_id],
            id=job_id,
            origin=self.name,
            connection=self.redis,
            serializer=JSONSerializer,
            timeout=-1,  # the parent enforces its own
        )

    def remove(self, pipe: Pipeline, record: Record) -> None:
        """Remove the record of a job that has ended."""
        self.records.remove(pipe, record)
        self.cleanup.drop(pipe, record.id)
        pipe.zrem(self.failed.key, record.id)
        pipe.delete(Job.key_for(record.id))

    def forget(self, job_id: str) -> None:
        """Delete the record of a job that has ended; its results are kept.

        One that cannot be read is removed as far as that is known.
        """

        def change(pipe: Pipeline) -> None:
            try:
                record = self.read(pipe, job_id)
            except UnreadableRecord:
                pipe.multi()
                return self.records.remove_unread(pipe, job_id)
            pipe.multi()
            if record and record.state.is_final:
                self.remove(pipe, record)
            return None

        self.transaction(job_id, change)

    def drop_bytes(self, entry: Any) -> None:
        """Take an entry off the intermediate queue that is no text, and so no job's id."""
        self.redis.lrem(self.rq.intermediate_queue_key, 0, entry)

    def set_aside(self, job_id: str) -> None:
        """Take a job off the queue whose record cannot be read; what there is of it stays.

        One of a later release goes to the end of the queue instead, for that release's workers.
        """
        is_later = self._version(job_id) > VERSION
        pipe = self.redis.pipeline()
        self.line.drop(pipe, job_id)
        pipe.lrem(self.rq.intermediate_queue_key, 0, job_id)
        pipe.zrem(self.leases_key, job_id)
        self.delayed.drop(pipe, job_id)
        if is_later:
            pipe.rpush(self.rq.key, job_id)
        pipe.execute()

    def _version(self, job_id: str) -> int:
        """Of a record that may be anything."""
        try:
            return int(self.redis.hget(self.records.key(job_id), "version") or 0)
        except (ValueError, redis.ResponseError):
            return 0
