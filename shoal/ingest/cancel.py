"""What the attempts of a cancelled job have left in storage."""

from __future__ import annotations

from shoal.model.job import State
from shoal.model.record import Record
from shoal.queue.queue import JobQueue
from shoal.queue.split import segment_ids
from shoal.results.parts import remove_parts
from shoal.settings import Settings


def has_leftovers(record: Record) -> bool:
    """Whether a job was cancelled that may have segments; no worker removes them."""
    return record.state == State.CANCELLED and record.attempt > 0


def remove_leftovers(record: Record, queue: JobQueue, settings: Settings) -> None:
    """Remove them, or leave them to be removed later."""
    if remove_parts(record.spec, settings, segment_ids(record)):
        queue.cleanup.done(record.id)
