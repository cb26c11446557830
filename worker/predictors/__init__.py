"""Engines: from frames to tracked masks, behind the protocol of ``worker.predictors.base``."""

from __future__ import annotations

import importlib
import logging

from shoal import engines
from shoal.errors import ModelLoadFailed, UnknownEngine
from shoal.settings import Settings, get_settings
from worker.predictors.base import Predictor

log = logging.getLogger(__name__)


def load(engine: str) -> Predictor:
    """Load a model, once for all videos of the process; ``auto`` takes the best one here.

    ``package.module:factory`` calls a factory of the operator's own, which returns a
    ``Predictor``. The engine's libraries are imported here and not before.

    Raises:
        UnknownEngine: there is no engine of this name.
        ModelLoadFailed: its weights or libraries are missing or do not match.
    """
    settings = get_settings()
    if engine == engines.AUTO:
        engine = _best_here(settings)
    if engine == "cpu":
        from worker.predictors.cpu.predictor import CpuPredictor

        return CpuPredictor()
    if engine == "sam3":
        return _load_sam3(settings)
    module, colon, factory = engine.partition(":")
    if colon:
        predictor: Predictor = getattr(importlib.import_module(module), factory)()
        return predictor
    known = ", ".join((engines.AUTO, *engines.names()))
    raise UnknownEngine(f"there is no engine {engine!r}", hint=f"Choose one of {known}.")


def _best_here(settings: Settings) -> str:
    """``sam3`` where it can run, else ``cpu``; logs why."""
    from worker.predictors.sam3 import availability

    obstacle = availability.why_not(settings.sam3_weights, settings.sam3_revision)
    if obstacle:
        log.info("engine cpu, because sam3 cannot run: %s", obstacle)
        return "cpu"
    log.info("engine sam3, because there are a CUDA device and weights")
    return "sam3"


def _load_sam3(settings: Settings) -> Predictor:
    try:
        from worker.predictors.sam3.predictor import Sam3Predictor
    except ImportError as error:
        raise ModelLoadFailed(
            f"the sam3 engine's libraries cannot be imported: {error}",
            hint="Install them: pip install 'shoal[sam3]'.",
        ) from error
    return Sam3Predictor(settings.sam3_weights, settings.sam3_revision)
