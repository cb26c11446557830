"""The queue: a line of job ids, beside the records that say what they are.

``shoal.queue.line`` has the order, ``shoal.queue.transitions`` how states change. RQ's lists carry
the ids (its intermediate list keeps one from being lost between two machines), so RQ's own tools
show them; what is true is in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.client import Pipeline

from shoal.errors import InvalidCallback, StateConflict
from shoal.model.job import JobSpec, State
from shoal.model.record import VERSION, Depth, Record, Spent, now
from shoal.model.share import DEFAULT, Level, Priority, Share
from shoal.queue.connection import redis_errors
from shoal.queue.enqueue import CREATE, Enqueue, NewJob
from shoal.queue.transitions import PROCESS as PROCESS, Transitions
from shoal.settings import Settings

MAX_CALLBACKS = 16  # URLs that are told of one job


class JobQueue(Transitions):
    """Submit, cancel and retry jobs; the worker's side is ``shoal.queue.lease``."""

    def __init__(
        self,
        connection: Redis,
        name: str,
        *,
        retries: int,
        lease_s: float,
        retry_pauses_s: Sequence[float] = (),
    ) -> None:
        super().__init__(
            connection, name, retries=retries, lease_s=lease_s, retry_pauses_s=retry_pauses_s
        )
        self.creation = Enqueue(self.records, self.line, self.entries, self.deleted_key)
        self._script = connection.register_script(CREATE)

    def submit(
        self,
        spec: JobSpec,
        *,
        callback: str = "",
        again: bool = True,
        batch: str = "",
        share: Share = DEFAULT,
    ) -> tuple[Record, bool]:
        """Queue a job, unless the same job is already queued, running or succeeded.

        Args:
            callback: webhook URL to notify when the job ends, in addition to those of earlier
                submissions; if the job has already succeeded, it is notified immediately.
            again: whether to requeue a job that failed or was cancelled. Events do not, because
                they may be delivered twice.
            batch: ID of a batch that the job is added to. A job that already belongs to the batch
                is not requeued.
            share: its place among the others. A job that waits is moved to it if its priority is
                higher than the job's.

        Returns:
            The record of the job, and whether this call queued it.

        Raises:
            InvalidCallback: the job has too many webhook URLs.
            RedisUnavailable: the job may have been queued; it is safe to repeat the call.
        """
        new = self.new(spec, callback, batch, share)
        (found,) = self._create([new], again)
        answer = self.creation.answer(new, found, again)
        if not answer and (earlier := self.creation.id_of(found)) not in ("", new.id):
            new = self.new(spec.known_as(earlier), callback, batch, share)
        return answer or self._change(new, callback, again, batch)

    def submit_new(
        self,
        specs: Sequence[JobSpec],
        *,
        callback: str = "",
        batch: str = "",
        share: Share = DEFAULT,
    ) -> list[JobSpec]:
        """Queue those jobs that are not known, all in one call; gives the others."""
        new = [self.new(spec, callback, batch, share) for spec in specs]
        return [spec for spec, known in zip(specs, self._create(new), strict=True) if known]

    def _create(self, new: Sequence[Record], again: bool = True) -> list[list[Any]]:
        """For each record what there was in its place; where there was nothing it is written."""
        with redis_errors():
            jobs = [NewJob(record, again) for record in new]
            found: list[list[Any]] = self._script(**self.creation.call(jobs), client=None)
        return found

    def new(
        self, spec: JobSpec, callback: str = "", batch: str = "", share: Share = DEFAULT
    ) -> Record:
        """The record of a job that is submitted now."""
        at = now()
        return Record(
            id=spec.id,
            version=VERSION,
            spec=spec,
            state=State.QUEUED,
            created_at=at,
            queued_at=at,
            callbacks=_joined([], callback),
            batches=[batch] if batch else [],
            priority=share.priority.value,
            share=share,
        )

    def _change(self, new: Record, callback: str, again: bool, batch: str) -> tuple[Record, bool]:
        """Queue a known job again, or add to who is told of it and to its batches."""

        def change(pipe: Pipeline) -> tuple[Record, bool]:
            known = self.read(pipe, new.id)
            if known and known.deleting_at is not None:
                raise StateConflict(
                    "the job is being deleted", hint="Submit it again when it is gone."
                )
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
                if known.state == State.QUEUED and new.share.priority.is_before(
                    known.share.priority
                ):
                    known = self._move(pipe, known, new.priority, new.share)
                return self._also_tell(pipe, known, callbacks), False
            pipe.multi()
            record = new.model_copy(
                update={
                    "created_at": known.created_at if known else new.created_at,
                    "attempt": known.attempt if known else 0,
                    "callbacks": callbacks,
                    "batches": batches,
                    "spent": known.spent if known else Spent(),
                    **(known.split_so_far() if known else {}),
                }
            )
            self.records.write(pipe, record, before=known)
            self.records.record_event(pipe, new.id, "queued")
            self.push(pipe, record)
            return record, True

        return self.transaction(new.id, change)

    def retry(self, job_id: str) -> Record:
        """Requeue a failed or cancelled job, with a new count of retries.

        One that waits for its next attempt is queued at once.

        Raises:
            JobNotFound: there is no such job.
            StateConflict: the job has another state.
        """
        record = self.records.get(job_id)
        if record.state == State.QUEUED and record.retry_at is not None:
            self.release(job_id)
            return self.records.get(job_id)
        if record.state not in (State.FAILED, State.CANCELLED):
            raise StateConflict(
                f"the job is {record.state}: only failed and cancelled ones are retried"
            )
        return self.submit(record.spec, share=record.share)[0]

    def prioritise(self, job_id: str, priority: Priority) -> Record:
        """Move a waiting job to the front of the queue, or to the end of a priority.

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
            is_delayed = self.delayed.holds(pipe, job_id)
            pipe.multi()
            share = record.share
            if priority != "front":
                share = share.model_copy(update={"priority": Level(priority)})
            if is_delayed:
                changes = {"priority": priority, "share": share, "retry_at": None}
                self.records.update(pipe, record, **changes)
                self.records.record_event(pipe, job_id, "priority", priority=priority)
                self.push(pipe, record.model_copy(update=changes))
                return
            self._move(pipe, record, priority, share)

        self.transaction(job_id, change)
        return self.records.get(job_id)

    def _move(self, pipe: Pipeline, record: Record, priority: Priority, share: Share) -> Record:
        """Change the place of a waiting job."""
        after = record.model_copy(update={"priority": priority, "share": share})
        self.records.update(pipe, record, priority=after.priority, share=share)
        self.records.record_event(pipe, record.id, "priority", priority=after.priority)
        self.line.move(pipe, record, after)
        return after

    def cancel(self, job_id: str) -> Record:
        """Cancel a job: a queued one immediately, a running one within seconds.

        Returns:
            The record: 'cancelled', or 'running' with ``cancel_requested``.

        Raises:
            JobNotFound
            StateConflict: it has already succeeded or failed.
        """

        def change(pipe: Pipeline) -> None:
            record = self.read(pipe, job_id) or self.records.get(job_id)
            if record.state == State.CANCELLED:
                return
            if record.state.is_final:
                raise StateConflict(f"the job has {record.state}: it cannot be cancelled any more")
            pipe.multi()
            if record.state == State.QUEUED:
                self.finish(pipe, record, State.CANCELLED)
            elif not record.cancel_requested:
                self.records.update(pipe, record, cancel_requested=True)
                self.records.record_event(pipe, job_id, "cancel_requested")

        self.transaction(job_id, change)
        return self.records.get(job_id)

    def depth(self) -> Depth:
        """Jobs by state, and the waiting time of the oldest queued job in seconds."""
        counts = self.records.counts()
        oldest = self.line.oldest()
        paused, held = self.paused, self.line.held()
        return Depth(
            queued=counts[State.QUEUED],
            held=held,
            startable=0 if paused else max(0, counts[State.QUEUED] - held),
            running=counts[State.RUNNING],
            oldest_queued_s=max(0.0, now() - oldest) if oldest is not None else 0.0,
            paused=paused,
            jobs=counts,
            segments=self.records.segment_counts(),
            split=int(self.redis.scard(self.records.splits_key)),
        )

    @property
    def paused(self) -> bool:
        return bool(self.redis.exists(self.paused_key))

    def pause(self) -> None:
        """Pause the queue: running jobs finish, queued and new jobs wait."""
        self.redis.set(self.paused_key, now())

    def resume(self) -> None:
        """Let workers take jobs again."""
        self.redis.delete(self.paused_key)

    def _also_tell(self, pipe: Pipeline, record: Record, callbacks: list[str]) -> Record:
        """Add to who is told of a job; who comes after its end is told at once."""
        if callbacks == record.callbacks:
            return record
        self.records.update(pipe, record, callbacks=callbacks)
        if record.state.is_final:
            self.callbacks.enqueue(pipe, record, callbacks[len(record.callbacks) :])
        return record.model_copy(update={"callbacks": callbacks})


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


def open_queue(settings: Settings, connection: Redis) -> JobQueue:
    return JobQueue(
        connection,
        settings.queue,
        retries=settings.retries,
        lease_s=settings.lease_s,
        retry_pauses_s=settings.retry_pauses_s,
    )
