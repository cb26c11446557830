"""Whether the engine of this worker can do a job."""

from __future__ import annotations

from shoal import engines
from shoal.errors import UnknownEngine
from shoal.model.job import JobSpec
from worker.engines import find_obstacle
from worker.engines.base import Predictor


def check_engine(spec: JobSpec, predictor: Predictor, reason: str) -> None:
    """
    Args:
        reason: why the worker runs this engine; empty if it was told to.

    Raises:
        UnknownEngine: the job requests another one.
        ShoalError: this one does not support its prompts or options.
    """
    _check_choice(spec.options.engine, predictor.name, reason)
    if predictor.name in engines.names():  # with 'auto' another one was able
        used = engines.features(spec.options, spec.objects, spec.remove_objects, spec.exemplars)
        engines.check(predictor.name, spec.prompts, used)


def _check_choice(wanted: str, ours: str, reason: str) -> None:
    if wanted in (engines.AUTO, ours):
        return
    if obstacle := find_obstacle(wanted):
        raise obstacle
    runs = f"this worker runs {ours!r}" + (f" ({reason})" if reason else "")
    raise UnknownEngine(
        f"the job requests engine {wanted!r}; {runs}",
        hint=f"Start a worker with SHOAL_ENGINE={wanted}, or submit with engine 'auto'.",
    )
