"""How long checkpoints outlive the success of their job."""

from __future__ import annotations

from shoal.model.job import State
from shoal.model.record import Record
from shoal.queue.stats import DAY_S
from shoal.results.parts import keeps_states
from shoal.settings import Settings


def kept_until(record: Record, settings: Settings) -> float:
    """Until when checkpoints of an ended job are kept, in seconds since the epoch.

    That is the end of the job where they are not kept. They go before the job is forgotten, as
    nobody would remove them later.
    """
    ended_at = record.finished_at or 0.0
    engine = str(record.summary.get("engine", ""))
    if record.state != State.SUCCEEDED or not keeps_states(record.spec, engine, settings):
        return ended_at
    days = settings.keep_checkpoints_days
    if settings.retention_days:
        days = min(days, settings.retention_days / 2)
    return ended_at + days * DAY_S
