"""How far a batch is: a fixed number of reads, however many videos it has."""

from __future__ import annotations

from typing import Any

from shoal.model.batch import Batch, BatchState, BatchStatus
from shoal.model.filter import batch_index
from shoal.model.job import State
from shoal.model.record import Progress, text
from shoal.queue.queue import JobQueue
from shoal.queue.unreadable import readable
from shoal.queue.workers import list_workers

WATCHED = 100  # running jobs whose progress is looked at for that of a batch


def read_status(queue: JobQueue, batch: Batch, totals: dict[str, float]) -> BatchStatus:
    """
    Args:
        totals: the sums that are kept for the batch.
    """
    counts = _counts(queue, batch.id)
    videos = sum(counts.values())
    under_way = _under_way(queue, batch.id) if counts[State.RUNNING] else 0.0
    left = counts[State.QUEUED] + counts[State.RUNNING] - under_way
    own = batch_index(batch.id)
    return BatchStatus(
        **batch.work.model_dump(),
        id=batch.id,
        uris=batch.uris,
        created_at=batch.created_at,
        state=_state(batch, counts),
        objects_seen=int(totals.get("objects", 0)),
        videos=videos,
        counts=counts,
        failures=queue.records.indexes.by_cause(own) if counts[State.FAILED] else {},
        skipped=_below(totals, "skipped:"),
        rejected=_below(totals, "rejected:"),
        progress=round(1 - left / videos, 4) if videos else 0.0,
        gpu_seconds=round(_sum(totals, "seconds:"), 1),
        cost=round(_sum(totals, "cost:"), 4),
        wasted_seconds=round(totals.get("wasted:seconds", 0.0), 1),
        wasted_cost=round(totals.get("wasted:cost", 0.0), 4),
        eta_s=None if batch.is_expanding else _eta(queue, totals, left),
        error=batch.error,
    )


def read_state(queue: JobQueue, batch: Batch) -> BatchState:
    return _state(batch, _counts(queue, batch.id))


def _counts(queue: JobQueue, batch_id: str) -> dict[State, int]:
    own = batch_index(batch_id)
    found = queue.records.indexes.counts([f"{own}:{state}" for state in State])
    return dict(zip(State, found, strict=True))


def _under_way(queue: JobQueue, batch_id: str) -> float:
    """How much of the running jobs is done, in jobs."""
    key = queue.records.indexes.key(f"{batch_index(batch_id)}:{State.RUNNING}")
    ids: Any = queue.redis.zrange(key, 0, WATCHED - 1)
    pipe = queue.redis.pipeline(transaction=False)
    for job_id in ids:
        pipe.hget(queue.records.key(text(job_id)), "progress")
    done = 0.0
    answers = zip(map(text, ids), pipe.execute(raise_on_error=False), strict=True)
    there = ((job_id, value) for job_id, value in answers if value)
    for _, progress in readable("job", there, Progress.model_validate_json):
        if progress.frames_expected:
            done += min(1.0, progress.frames / progress.frames_expected)
    return done


def _eta(queue: JobQueue, totals: dict[str, float], left: float) -> float | None:
    if not left:
        return 0.0
    done = totals.get("attempts:succeeded", 0)
    workers = len(list_workers(queue.redis, queue.name))
    if not done or not workers:
        return None
    return round(left * totals.get("seconds:succeeded", 0.0) / done / workers, 1)


def _state(batch: Batch, counts: dict[State, int]) -> BatchState:
    if batch.delete_asked_at is not None:
        return BatchState.DELETING
    if batch.cancel_asked_at is not None:
        return BatchState.CANCELLING if batch.is_cancelling else BatchState.CANCELLED
    if batch.is_expanding:
        return BatchState.EXPANDING
    if counts[State.QUEUED] + counts[State.RUNNING] or batch.retry_asked_at is not None:
        return BatchState.RUNNING
    return BatchState.FINISHED if batch.expanded_at is not None else BatchState.STOPPED


def _sum(totals: dict[str, float], prefix: str) -> float:
    return sum(n for name, n in totals.items() if name.startswith(prefix))


def _below(totals: dict[str, float], prefix: str) -> dict[str, int]:
    """Counts whose names begin so, the greatest first."""
    found = {k.removeprefix(prefix): int(n) for k, n in totals.items() if k.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
