"""The queue: one RQ queue of job ids, beside the records that say what they are.

Every change of a job's state is one Redis transaction that watches its record: record, timeline
and queue never disagree. RQ carries the ids (its intermediate queue keeps one from being lost
between two machines) and shows them in its own tools; what is true is in the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from shoal.callbacks import Outbox
from shoal.creation import CREATE, Creation
from shoal.errors import Failure, InvalidCallback, RedisUnavailable, StateConflict
from shoal.jobs import JobSpec, State
from shoal.records import Depth, Priority, Record, Records, Spent, now, text
from shoal.rq_entry import SAMPLE_ID, EntryTemplate
from shoal.settings import Settings

T = TypeVar("T")

PROCESS = "worker.parent.process_video"  # the only function a worker runs
# Of every connection. A Redis that hangs is one that is away.
SOCKET: dict[str, Any] = {
    "socket_connect_timeout": 5,
    "socket_timeout": 15,
    "socket_keepalive": True,
}
MAX_CALLBACKS = 16  # URLs that are told of one job
FAILED_TTL_S = 7 * 24 * 3600  # how long RQ's own tools show a failed job

# Moves an id within the queue; one that a worker is just taking stays with it.
MOVE = """
if redis.call('LREM', KEYS[1], 0, ARGV[1]) > 0 then redis.call(ARGV[2], KEYS[1], ARGV[1]) end
"""


class JobQueue:
    """Submit, cancel and retry jobs; the worker's side is ``shoal.lease``."""

    def __init__(self, connection: Redis, name: str, *, retries: int, lease_s: float) -> None:
        self.redis = connection
        self.name = name
        self.retries = retries
        self.lease_s = lease_s
        self.records = Records(connection, name)
        self.callbacks = Outbox(connection, name)
        self.rq = Queue(name, connection=connection, serializer=JSONSerializer)
        self.failed = FailedJobRegistry(name, connection=connection, serializer=JSONSerializer)
        entries = EntryTemplate(self.rq, self._rq_job(SAMPLE_ID))
        self.creation = Creation(self.records, entries)
        self._script = connection.register_script(CREATE)

    @property
    def leases_key(self) -> str:
        """Sorted set: id of a running job -> time (of the Redis clock) when its lease ends."""
        return f"{self.name}:leases"

    @property
    def paused_key(self) -> str:
        return f"{self.name}:paused"

    # --- what users do -------------------------------------------------------------------------

    def submit(
        self, spec: JobSpec, *, callback: str = "", again: bool = True, batch: str = ""
    ) -> tuple[Record, bool]:
        """Queue a job, unless the very same one is queued, running or done.

        Args:
            callback: a URL that is told how the job ends, beside those that earlier submissions
                gave; if it is done already, at once, and each URL once.
            again: one that failed or was cancelled goes on the queue again; else it stays as it
                is: an event that is delivered twice is nobody's wish.
            batch: the id of one that the job belongs to from now on. A job that belongs to it
                already is not queued again.

        Returns:
            The job's record, and whether this call put it on the queue.
        """
        new = self.new(spec, callback, batch)
        (found,) = self._create([new])
        answer = self.creation.answer(new, found, again)
        return answer or self._change(new, callback, again, batch)

    def submit_new(
        self, specs: Sequence[JobSpec], *, callback: str = "", batch: str = ""
    ) -> list[JobSpec]:
        """Queue those jobs that are not known, all in one call; gives the others."""
        new = [self.new(spec, callback, batch) for spec in specs]
        return [spec for spec, known in zip(specs, self._create(new), strict=True) if known]

    def _create(self, new: Sequence[Record]) -> list[list[Any]]:
        """For each record what there was in its place; where there was nothing it is written."""
        with redis_errors():
            found: list[list[Any]] = self._script(**self.creation.call(new), client=None)
        return found

    def new(self, spec: JobSpec, callback: str = "", batch: str = "") -> Record:
        """The record of a job that is submitted now."""
        at = now()
        return Record(
            id=spec.id,
            spec=spec,
            state=State.QUEUED,
            created_at=at,
            queued_at=at,
            callbacks=_joined([], callback),
            batches=[batch] if batch else [],
        )

    def _change(self, new: Record, callback: str, again: bool, batch: str) -> tuple[Record, bool]:
        """Queue a known job again, or add to who is told of it and to its batches."""

        def change(pipe: Pipeline) -> tuple[Record, bool]:
            known = self.read(pipe, new.id)
            callbacks = _joined(known.callbacks if known else [], callback)
            batches = list(known.batches if known else [])
            is_new = not batch or batch not in batches
            batches += [batch] if batch and is_new else []
            stays = known and known.state not in (State.FAILED, State.CANCELLED)
            if known and (stays or not again or not is_new):
                pipe.multi()
                if batches != known.batches:
                    self.records.update(pipe, known, batches=batches)
                    known = known.model_copy(update={"batches": batches})
                return self._also_tell(pipe, known, callbacks), False
            pipe.multi()
            record = new.model_copy(
                update={
                    "created_at": known.created_at if known else new.created_at,
                    "attempt": known.attempt if known else 0,
                    "callbacks": callbacks,
                    "batches": batches,
                    "spent": known.spent if known else Spent(),
                }
            )
            self.records.write(pipe, record, before=known)
            self.records.tell(pipe, new.id, "queued")
            self.push(pipe, new.id)
            return record, True

        return self.transaction(new.id, change)

    def retry(self, job_id: str) -> Record:
        """Queue a failed or cancelled job again, with all its retries.

        Raises:
            JobNotFound, StateConflict
        """
        record = self.records.get(job_id)
        if record.state not in (State.FAILED, State.CANCELLED):
            raise StateConflict(
                f"the job is {record.state}: only failed and cancelled ones are retried"
            )
        return self.submit(record.spec)[0]

    def prioritise(self, job_id: str, priority: Priority) -> Record:
        """Move a waiting job to the front of the queue, or ("normal") to its end.

        Raises:
            JobNotFound
            StateConflict: it does not wait.
        """

        def change(pipe: Pipeline) -> None:
            record = self.read(pipe, job_id) or self.records.get(job_id)
            if record.state != State.QUEUED:
                raise StateConflict(f"the job is {record.state}: only what waits has a priority")
            if record.priority == priority:
                return
            pipe.multi()
            self.records.update(pipe, record, priority=priority)
            self.records.tell(pipe, job_id, "priority", priority=priority)
            push = "LPUSH" if priority == "front" else "RPUSH"
            pipe.eval(MOVE, 1, self.rq.key, job_id, push)

        self.transaction(job_id, change)
        return self.records.get(job_id)

    def cancel(self, job_id: str) -> Record:
        """Cancel a job: at once when it waits, within seconds when it runs.

        Raises:
            JobNotFound
            StateConflict: it has already succeeded or failed.
        """

        def change(pipe: Pipeline) -> None:
            record = self.read(pipe, job_id) or self.records.get(job_id)
            if record.state == State.CANCELLED or record.cancel_requested:
                return
            if record.state.is_final:
                raise StateConflict(f"the job has {record.state}: it cannot be cancelled any more")
            pipe.multi()
            if record.state == State.QUEUED:
                self.finish(pipe, record, State.CANCELLED)
            else:
                self.records.update(pipe, record, cancel_requested=True)
                self.records.tell(pipe, job_id, "cancel_requested")

        self.transaction(job_id, change)
        return self.records.get(job_id)

    def depth(self) -> Depth:
        counts = self.records.counts()
        head = self.redis.lindex(self.rq.key, 0)
        first = self.records.find(text(head)) if head else None
        return Depth(
            queued=counts[State.QUEUED],
            running=counts[State.RUNNING],
            oldest_queued_s=max(0.0, now() - first.queued_at) if first else 0.0,
            paused=self.paused,
            jobs=counts,
        )

    @property
    def paused(self) -> bool:
        return bool(self.redis.exists(self.paused_key))

    def pause(self) -> None:
        """Have the workers take nothing new; what runs goes on, and submissions wait."""
        self.redis.set(self.paused_key, now())

    def resume(self) -> None:
        self.redis.delete(self.paused_key)

    def forget(self, job_id: str) -> None:
        """Remove a final job from all there is in Redis; its results stay where they are."""

        def change(pipe: Pipeline) -> None:
            record = self.read(pipe, job_id)
            pipe.multi()
            if record and record.state.is_final:
                self.records.remove(pipe, record)
                pipe.zrem(self.failed.key, job_id)
                pipe.delete(Job.key_for(job_id))

        self.transaction(job_id, change)

    def _also_tell(self, pipe: Pipeline, record: Record, callbacks: list[str]) -> Record:
        """Add to who is told of a job; who comes after its end is told at once."""
        if callbacks == record.callbacks:
            return record
        self.records.update(pipe, record, callbacks=callbacks)
        if record.state.is_final:
            self.callbacks.enqueue(pipe, record, callbacks[len(record.callbacks) :])
        return record.model_copy(update={"callbacks": callbacks})

    # --- building blocks of a transaction --------------------------------------------------------

    def transaction(self, job_id: str, change: Callable[[Pipeline], T]) -> T:
        """Run ``change`` until nobody else wrote the record between its reads and its writes.

        ``change`` reads, calls ``pipe.multi()`` once, then writes.
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
        """The record as the transaction sees it."""
        fields = pipe.hgetall(self.records.key(job_id))
        return Record.from_fields(fields) if fields else None

    def push(self, pipe: Pipeline, job_id: str, *, at_front: bool = False) -> None:
        """Put an id on the RQ queue; the record is the caller's."""
        pipe.zrem(self.failed.key, job_id)
        pipe.zrem(self.leases_key, job_id)
        pipe.lrem(self.rq.intermediate_queue_key, 0, job_id)
        self.rq.enqueue_job(self._rq_job(job_id), pipeline=pipe, at_front=at_front)

    def finish(
        self, pipe: Pipeline, record: Record, state: State, error: Failure | None = None
    ) -> None:
        """Bring a job to a final state, take it out of the queue, and put its callbacks down."""
        job_id, at = record.id, now()
        self.records.update(
            pipe, record, state=state, finished_at=at, error=error, cancel_requested=None
        )
        ended = {"state": state, "finished_at": at, "error": error}
        self.callbacks.enqueue(pipe, record.model_copy(update=ended), record.callbacks)
        self.records.tell(pipe, job_id, state.value, **({"code": error.code} if error else {}))
        self.records.totals.add(pipe, f"jobs:{state}" + (f":{error.code}" if error else ""), 1)
        pipe.zrem(self.leases_key, job_id)
        # From the end: a batch is cancelled from there, and a long queue is not searched each time.
        pipe.lrem(self.rq.key, -1, job_id)
        pipe.lrem(self.rq.intermediate_queue_key, 0, job_id)
        pipe.delete(Job.key_for(job_id))
        if error:
            job = self._rq_job(job_id)
            job.set_status(JobStatus.FAILED, pipeline=pipe)
            self.failed.add(job, FAILED_TTL_S, f"{error.code}: {error.message}", pipeline=pipe)

    def requeue(self, pipe: Pipeline, record: Record, *, at_front: bool, **changes: object) -> None:
        """Bring a running job back to the queue."""
        self.records.update(
            pipe, record, state=State.QUEUED, queued_at=now(), worker=None, host=None, **changes
        )
        self.push(pipe, record.id, at_front=at_front)

    def untake(self, job_id: str) -> None:
        """Put back an id that was dequeued but not started."""

        def change(pipe: Pipeline) -> None:
            record = self.read(pipe, job_id)
            pipe.multi()
            if record and record.state == State.QUEUED:
                self.push(pipe, job_id, at_front=True)

        self.transaction(job_id, change)

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


def _joined(callbacks: list[str], callback: str) -> list[str]:
    """
    Raises:
        InvalidCallback: one more than ``MAX_CALLBACKS``.
    """
    if not callback or callback in callbacks:
        return callbacks
    if len(callbacks) >= MAX_CALLBACKS:
        raise InvalidCallback(f"{MAX_CALLBACKS} callbacks are told of this job already")
    return [*callbacks, callback]


def connect(settings: Settings, *, attempts_s: float = 0.0) -> Redis:
    """A connection to the configured Redis, waiting up to ``attempts_s`` seconds for it.

    Raises:
        RedisUnavailable: it does not answer.
    """
    connection = Redis.from_url(settings.redis_url, **SOCKET)
    deadline = time.monotonic() + attempts_s
    while True:
        try:
            with redis_errors():
                connection.ping()
            return connection
        except RedisUnavailable:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def open_queue(settings: Settings, connection: Redis) -> JobQueue:
    return JobQueue(connection, settings.queue, retries=settings.retries, lease_s=settings.lease_s)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Name what a Redis client raises when the server is away."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError) as error:
        # A ConnectionError is also what a wrong password raises: its own words tell.
        raise RedisUnavailable(f"Redis does not answer: {error}") from error
