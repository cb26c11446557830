"""Engines: from frames to tracked masks, behind the protocol of ``worker.predictors.base``."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from shoal import engines
from shoal.errors import ModelLoadFailed, UnknownEngine
from shoal.settings import Settings, get_settings
from worker.predictors.base import Predictor


class Choice(NamedTuple):
    """An engine, and why it is the one, in a few words."""

    engine: str
    reason: str


def choose(engine: str) -> Choice:
    """Which engine a worker takes that is set to ``engine``: with ``auto`` the best one here.

    That is ``sam3`` where there are a CUDA device and weights, else ``cpu``.
    """
    if engine != engines.AUTO:
        return Choice(engine, f"SHOAL_ENGINE is {engine}")
    from worker.predictors.sam3 import availability

    settings = get_settings()
    obstacle = availability.why_not(settings.sam3_weights, settings.sam3_revision)
    if obstacle:
        return Choice("cpu", f"sam3 cannot run here: {obstacle}")
    return Choice("sam3", "there are a CUDA device and weights for it")


def find_obstacle(engine: str) -> ModelLoadFailed | None:
    """What keeps this machine from running an engine, as far as is seen without loading it."""
    if engine != "sam3":
        return None
    from worker.predictors.sam3 import availability

    settings = get_settings()
    return availability.find_obstacle(settings.sam3_weights, settings.sam3_revision)


def weights_of(settings: Settings) -> dict[str, str]:
    """Where the weights are looked for that do not come with Shoal, by engine."""
    from worker.predictors.sam3 import availability

    return {"sam3": availability.place(settings.sam3_weights, settings.sam3_revision)}


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
        engine = choose(engine).engine
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


def _load_sam3(settings: Settings) -> Predictor:
    from worker.predictors.sam3 import availability

    try:
        from worker.predictors.sam3.predictor import Sam3Predictor
    except ImportError as error:
        raise ModelLoadFailed(
            f"the sam3 engine's libraries cannot be imported: {error}",
            hint=availability.INSTALL,
        ) from error
    return Sam3Predictor(settings.sam3_weights, settings.sam3_revision)
