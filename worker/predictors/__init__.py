"""Engines: from frames to tracked masks, behind the protocol of ``worker.predictors.base``."""

from __future__ import annotations

import importlib

from shoal import engines
from shoal.errors import UnknownEngine
from worker.predictors.base import Predictor


def load(engine: str) -> Predictor:
    """Load a model, once for all videos of the process; ``auto`` takes the best one here.

    ``package.module:factory`` calls a factory of the operator's own, which returns a
    ``Predictor``. The engine's libraries are imported here and not before.

    Raises:
        UnknownEngine: there is no engine of this name.
        ModelLoadFailed: its weights or libraries are missing or do not match.
    """
    if engine in (engines.AUTO, "cpu"):
        from worker.predictors.cpu.predictor import CpuPredictor

        return CpuPredictor()
    module, colon, factory = engine.partition(":")
    if colon:
        predictor: Predictor = getattr(importlib.import_module(module), factory)()
        return predictor
    known = ", ".join((engines.AUTO, *engines.names()))
    raise UnknownEngine(f"there is no engine {engine!r}", hint=f"Choose one of {known}.")
