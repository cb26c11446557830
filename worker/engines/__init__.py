"""Engines: from frames to tracked masks, behind the protocol of ``worker.engines.base``."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from shoal import engines
from shoal.errors import ModelLoadFailed, UnknownEngine
from shoal.settings import Settings, get_settings
from worker.engines import cuda
from worker.engines.base import Predictor


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
    from worker.engines.sam3 import availability

    settings = get_settings()
    obstacle = availability.why_not(settings.sam3_weights, settings.sam3_revision)
    if obstacle:
        return Choice("cpu", f"sam3 cannot run here: {obstacle}")
    return Choice("sam3", "a CUDA device and weights are available")


def find_obstacle(engine: str) -> ModelLoadFailed | None:
    """What keeps this machine from running an engine, as far as is seen without loading it."""
    settings = get_settings()
    where = settings.sam3_weights, settings.sam3_revision
    if engine == "sam3":
        from worker.engines.sam3 import availability

        return availability.find_obstacle(*where)
    if engine == "sam3-native":
        from worker.engines.sam3_native import availability as of_native

        return of_native.find_obstacle(*where, settings.sam3_gpus)
    return None


def weights_of(settings: Settings) -> dict[str, str]:
    """Where the weights are looked for that do not come with Shoal, by engine.

    Of ``sam3-native`` only where it is set: it needs CUDA, and is nothing to miss elsewhere.
    """
    from worker.engines.sam3 import availability

    place = availability.place(settings.sam3_weights, settings.sam3_revision)
    also = ["sam3-native"] if settings.engine == "sam3-native" else []
    return dict.fromkeys(["sam3", *also], place)


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
        from worker.engines.cpu.predictor import CpuPredictor

        return CpuPredictor()
    if engine == "sam3":
        return _load_sam3(settings)
    if engine == "sam3-native":
        return _load_sam3_native(settings)
    module, colon, factory = engine.partition(":")
    if colon:
        predictor: Predictor = getattr(importlib.import_module(module), factory)()
        return predictor
    known = ", ".join((engines.AUTO, *engines.names()))
    raise UnknownEngine(f"unknown engine {engine!r}", hint=f"Choose one of {known}.")


def _load_sam3(settings: Settings) -> Predictor:
    try:
        from worker.engines.sam3.predictor import Sam3Predictor
    except ImportError as error:
        raise _lacking("sam3", error) from error
    return Sam3Predictor(
        settings.sam3_weights,
        settings.sam3_revision,
        compile_with="inductor" if settings.sam3_compile and cuda.compiles() else "",
    )


def _load_sam3_native(settings: Settings) -> Predictor:
    if obstacle := find_obstacle("sam3-native"):
        raise obstacle
    try:
        from worker.engines.sam3_native.predictor import OVERLAP, Sam3NativePredictor, load
    except ImportError as error:
        raise _lacking("sam3-native", error) from error
    loaded = load(
        settings.sam3_weights,
        settings.sam3_revision,
        settings.sam3_gpus,
    )
    return Sam3NativePredictor(loaded, settings.sam3_window, OVERLAP)


def _lacking(engine: str, error: ImportError) -> ModelLoadFailed:
    from worker.engines.sam3.availability import INSTALL

    return ModelLoadFailed(
        f"cannot import the libraries of the {engine} engine: {error}",
        hint=INSTALL,
    )
