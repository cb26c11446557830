"""When a video is given up that takes down who works on it, and where it waits before that.

A *loss* is an attempt whose worker vanished before it had saved a part. One that had saved some is
a machine that was taken away: that says nothing about the video. A *death* is a loss, or a failure
that cost a model process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from shoal.errors import GpuError, ModelProcessDied, ModelStalled, OutOfMemory, PoisonousVideo
from shoal.model.failure import Failure
from shoal.model.record import AttemptRecord, Record

# Failures that cost a model process.
DEADLY = (ModelProcessDied.code, OutOfMemory.code, ModelStalled.code, GpuError.code)
MAX_DEATHS = 3  # of model processes and workers together: then the video fails
MAX_UNSAVED = 2  # interruptions in a row that saved nothing: then others go first


class Interruption(NamedTuple):
    """What an attempt that was cut short comes to.

    Attributes:
        counts: the record's new counters.
        then: the video is next in line ("front"), waits behind all others ("end"), or is given up
            ("failed").
    """

    counts: dict[str, Any]
    then: Literal["front", "end", "failed"]


def interruption(record: Record, *, lost: bool) -> Interruption:
    """
    Args:
        record: as it is while the attempt runs.
        lost: the worker vanished; else it had to go, and said so. That never counts against the
            video, but the second time in a row that nothing was saved it waits like the others.
    """
    if record.saved_at is not None:
        return Interruption({}, "front")
    unsaved, losses = record.unsaved + 1, record.losses + lost
    deaths = (record.model_deaths + losses) * lost
    counts = {"unsaved": unsaved, "losses": losses}
    if deaths >= MAX_DEATHS:
        return Interruption(counts, "failed")
    return Interruption(counts, "front" if max(unsaved, deaths) < MAX_UNSAVED else "end")


def poisonous(
    attempts: Sequence[AttemptRecord], *, losses: int, model_deaths: int, last: Failure | None
) -> Failure:
    """What a video fails with that cost one process after the other.

    Args:
        attempts: at the video, oldest first, the last one included.
        last: what the last one failed with; ``None`` for a loss.
    """
    cost = [_counted(model_deaths, "model process", "es"), _counted(losses, "worker", "s")]
    deaths = [each for each in attempts if _is_death(each)][-MAX_DEATHS:]
    cause = f"it cost {' and '.join(filter(None, cost))}"
    if last:
        cause += f"; the last time {last.message}"
    places = "; ".join(_place(each) for each in deaths)
    failure = Failure.of(PoisonousVideo(f"{cause} ({places})"))
    return failure.model_copy(update={"traceback": last.traceback if last else ""})


def _is_death(attempt: AttemptRecord) -> bool:
    error = attempt.error
    return attempt.outcome == "lost" or (error is not None and error.code in DEADLY)


def _place(attempt: AttemptRecord) -> str:
    """Such as 'attempt 2 on gpu-7 of host a, stage process, frame 120'."""
    host = f" of {attempt.host}" if attempt.host else ""
    stage = f", stage {attempt.stage}" if attempt.stage else ", before its first report"
    frame = f", frame {attempt.frames}" if attempt.frames else ""
    return f"attempt {attempt.number} on {attempt.worker}{host}{stage}{frame}"


def _counted(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{plural * (count > 1)}" if count else ""
