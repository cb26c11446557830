"""Split jobs: long videos whose segments are work items of the same queue.

A segment has a record, a lease, attempts and checkpoints like any job, but is in no list of jobs.
A split job takes turns with its segments: an attempt at the job cuts the video and ends with
``hand_over``; the job then waits, 'running' without a worker, until ``Splits.advance`` finds all
segments done and queues the job again for its next phase. ``advance`` decides by the records
alone, in one transaction on that of the job, so anybody may call it at any time: the worker that
ends a segment does so at once, the reaper again and again.

Keys, below the queue's name: ``splits`` a set of the ids of jobs that wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shoal.errors import JobNotFound, SegmentsLost, StateConflict, UnreadableRecord
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, Role, SplitSegment, State
from shoal.model.record import (
    Phase,
    Progress,
    Record,
    SegmentStatus,
    Spent,
    now,
    text,
)
from shoal.model.share import Priority

if TYPE_CHECKING:
    from redis.client import Pipeline

    from shoal.queue.queue import JobQueue

ROLES = {Phase.TRACK: Role.TRACK, Phase.RENDER: Role.RENDER}  # what a job waits for
NEXT = {Phase.TRACK: Phase.JOIN, Phase.RENDER: Phase.FINAL}
AGAIN = (State.FAILED, State.CANCELLED)  # segments that a retry of the job queues again


def segment_specs(record: Record, role: Role) -> list[JobSpec]:
    """The segments of a split job, in the order of the video."""
    segments = (
        SplitSegment(job=record.id, role=role, number=number, plan=record.plan)
        for number in range(1, record.segment_count + 1)
    )
    return [record.spec.model_copy(update={"segment": each}) for each in segments]


def segment_ids(record: Record) -> list[str]:
    """The IDs of all segments that a job may have, in the order of their making."""
    return [spec.id for role in Role for spec in segment_specs(record, role)]


def hand_over(queue: JobQueue, pipe: Pipeline, record: Record, known: Mapping[str, Record]) -> None:
    """End an attempt at a split job: it waits for the segments of its phase from now on.

    They are first in line, for the job's turn has come. Those that failed or were cancelled
    are queued again, all others stay as they are.

    Args:
        record: as it shall be, with phase, plan and number of segments.
        known: its segments that are there, by ID.
    """
    records = queue.records
    records.end_attempt(pipe, record, "split")
    for spec in reversed(segment_specs(record, ROLES[record.phase])):
        before = known.get(spec.id)
        if before and before.state not in AGAIN:
            continue
        new = _new(record, spec, before)
        records.write(pipe, new, before=before)
        records.record_event(pipe, spec.id, "queued")
        queue.push(pipe, new)
    kept: dict[str, Any] = record.model_dump(include={"phase", "plan", "segment_count"})
    kept["progress"] = Progress(stage=record.phase.value)
    # What is done is saved: earlier losses do not count any more.
    records.update(pipe, record, worker=None, host=None, losses=None, unsaved=None, **kept)
    records.record_event(
        pipe, record.id, "split", phase=record.phase.value, segments=record.segment_count
    )
    pipe.zrem(queue.leases_key, record.id)
    queue.line.release(pipe, record)
    pipe.sadd(queue.records.splits_key, record.id)


def _new(job: Record, spec: JobSpec, before: Record | None) -> Record:
    """The record of a segment that is queued now.

    It has the job's batches for its cost to count, and what else decides about its turn.
    """
    own: dict[str, Any] = {
        "id": spec.id,
        "spec": spec,
        "state": State.QUEUED,
        "queued_at": now(),
        "priority": "front",
        "attempt": before.attempt if before else 0,
        "spent": before.spent if before else Spent(),
        "progress": Progress(),
        "callbacks": [],
        "phase": Phase.WHOLE,
        "plan": "",
        "segment_count": 0,
        "segments_spent": Spent(),
    }
    reset = ("begun_at", "started_at", "finished_at", "error", "saved_at", "retry_at")
    counters = ("failures", "preemptions", "model_deaths", "losses", "unsaved", "hourly_price")
    own |= dict.fromkeys(reset) | dict.fromkeys(counters, 0) | {"worker": "", "host": ""}
    return job.model_copy(update=own)


class Splits:
    """Takes split jobs from phase to phase."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def advance(self, job_id: str) -> None:
        """Take a job that waits for its segments as far as they allow."""

        def step(pipe: Pipeline) -> list[str]:
            record = self.queue.read(pipe, job_id)
            made = self.queue.records.read_all(segment_ids(record)) if record else []
            pipe.multi()
            if record is None or not _waits(record):
                pipe.srem(self.queue.records.splits_key, job_id)
                # A job that failed, was queued again and then cancelled leaves some at work.
                is_unwanted = record is not None and record.state == State.CANCELLED
                return _under_way(made) if is_unwanted else []
            return self._step(pipe, _with_spent(record, made), _of_phase(record, made))

        try:
            while stopped := self.queue.transaction(job_id, step):
                for segment_id in stopped:
                    with suppress(StateConflict, JobNotFound, UnreadableRecord):
                        self.queue.cancel(segment_id)
        except UnreadableRecord:
            return  # logged where it was met

    def advance_all(self) -> None:
        """All jobs that wait for segments."""
        for job_id in self.queue.redis.smembers(self.queue.records.splits_key):
            self.advance(text(job_id))

    def _step(self, pipe: Pipeline, record: Record, segments: Sequence[Record]) -> list[str]:
        """Write what follows for the job; gives the segments that are to be cancelled."""
        if lost := record.segment_count - len(segments):
            error = SegmentsLost(f"nothing is known of {lost} of its segments")
            self._finish(pipe, record, State.FAILED, Failure.of(error))
            return []
        if record.cancel_requested:
            if all(each.state.is_final for each in segments):
                self._finish(pipe, record, State.CANCELLED)
            return _under_way(segments)
        if failed := next((each for each in segments if each.state in AGAIN), None):
            # What runs goes on: a retry needs it.
            self._finish(pipe, record, State.FAILED, _cause(failed))
            return [each.id for each in segments if each.state == State.QUEUED]
        if all(each.state == State.SUCCEEDED for each in segments):
            changes = {"phase": NEXT[record.phase], **_sums(record)}
            self.queue.requeue(pipe, record, at_front=True, **changes)
            self.queue.records.record_event(pipe, record.id, "queued", phase=NEXT[record.phase])
            pipe.srem(self.queue.records.splits_key, record.id)
            return []
        progress = _progress(record, segments)
        if progress != record.progress:
            self.queue.records.update(pipe, record, progress=progress, **_sums(record))
        return []

    def _finish(
        self, pipe: Pipeline, record: Record, state: State, error: Failure | None = None
    ) -> None:
        self.queue.records.update(pipe, record, **_sums(record))
        self.queue.finish(pipe, record, state, error)
        pipe.srem(self.queue.records.splits_key, record.id)

    # --- what users do ---------------------------------------------------------------------------

    def cancel(self, job_id: str) -> Record:
        """As ``JobQueue.cancel``; the segments of a job that waits for them go with it.

        Raises:
            JobNotFound
            StateConflict: it has already succeeded or failed, or is a segment.
        """
        self.own(job_id)
        record = self.queue.cancel(job_id)
        if record.phase is Phase.WHOLE:
            return record
        self.advance(job_id)
        return self.queue.records.get(job_id)

    def stop(self, job_id: str) -> None:
        """Cancel the segments of a job that has ended, if some are still at work."""
        record = self.queue.records.find(job_id)
        if record and record.state.is_final:
            for segment_id in _under_way(self.queue.records.read_all(segment_ids(record))):
                with suppress(StateConflict, JobNotFound):
                    self.queue.cancel(segment_id)

    def status(self, record: Record) -> list[SegmentStatus]:
        """The segments of a split job, those tracked first."""
        return [
            SegmentStatus(
                role=each.spec.segment.role,
                number=each.spec.segment.number,
                progress=_shown(each),
                **each.model_dump(include=STATUS_FIELDS),
            )
            for each in self.queue.records.read_all(segment_ids(record))
            if each.spec.segment
        ]

    def prioritise(self, job_id: str, priority: Priority) -> Record:
        """As ``JobQueue.prioritise``; of a job that waits for segments, those that are queued.

        Raises:
            JobNotFound
            StateConflict: neither the job nor a segment of it waits, or it is a segment.
        """
        record = self.own(job_id)
        if not _waits(record):
            return self.queue.prioritise(job_id, priority)
        made = _of_phase(record, self.queue.records.read_all(segment_ids(record)))
        queued = [each for each in made if each.state == State.QUEUED]
        if not queued:
            raise StateConflict("all its segments are running: only what waits has a priority")
        for each in reversed(queued) if priority == "front" else queued:
            with suppress(StateConflict):  # a worker has just taken it
                self.queue.prioritise(each.id, priority)
        return record

    def own(self, job_id: str) -> Record:
        """The record of a job that users may change.

        Raises:
            JobNotFound
            StateConflict: it is a segment, which goes with its job.
        """
        record = self.queue.records.get(job_id)
        if segment := record.spec.segment:
            raise StateConflict(
                f"this is segment {segment.number} of job {segment.job}",
                hint="Cancel, retry or prioritise the job: its segments go with it.",
            )
        return record


STATUS_FIELDS = {"id", "state", "attempt", "worker", "spent", "error"}


def _waits(record: Record) -> bool:
    """Whether a job has handed over to its segments, and has not got a worker again."""
    return record.state == State.RUNNING and record.phase.waits and not record.worker


def _of_phase(record: Record, segments: Sequence[Record]) -> list[Record]:
    """The segments that a job waits for now."""
    role = ROLES[record.phase]
    return [each for each in segments if each.spec.segment and each.spec.segment.role == role]


def _under_way(segments: Sequence[Record]) -> list[str]:
    """IDs of those that have to be cancelled, and nobody has asked to."""
    return [s.id for s in segments if not s.state.is_final and not s.cancel_requested]


def _cause(segment: Record) -> Failure:
    number = segment.spec.segment.number if segment.spec.segment else 0
    error = segment.error or Failure.of(SegmentsLost("it was cancelled"))
    return error.model_copy(update={"message": f"segment {number}: {error.message}"})


def _with_spent(record: Record, segments: Sequence[Record]) -> Record:
    """The job with what its segments have cost, those of earlier phases included."""
    spent = sum((each.spent for each in segments), Spent())
    before = {name: -value for name, value in record.segments_spent.model_dump().items()}
    return record.model_copy(
        update={"spent": record.spent + Spent(**before) + spent, "segments_spent": spent}
    )


def _sums(record: Record) -> dict[str, Any]:
    return {"spent": record.spent, "segments_spent": record.segments_spent}


def _shown(segment: Record) -> Progress:
    """How far a segment is; the last report of one that is done may lag behind."""
    progress = segment.progress
    if segment.state != State.SUCCEEDED:
        return progress
    return progress.model_copy(update={"frames": progress.frames_expected})


def _progress(record: Record, segments: Sequence[Record]) -> Progress:
    """That of all segments together; what is not known of some is taken to be as of the others."""
    known = [each.progress for each in segments if each.progress.frames_expected]
    expected = sum(each.frames_expected for each in known)
    running = [each for each in segments if each.state == State.RUNNING]
    return Progress(
        stage=record.phase.value,
        frames=sum(_shown(each).frames for each in segments),
        frames_expected=round(expected * len(segments) / len(known)) if known else 0,
        fps=round(sum(each.progress.fps for each in running), 2),
        forecast=record.progress.forecast,
        moved_at=max((s.progress.moved_at or s.started_at or 0 for s in running), default=now()),
    )
