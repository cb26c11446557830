"""What each engine supports, as known at submit time: its vocabulary and limits.

The models are in ``worker.engines``; nothing here imports numpy or a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shoal.engines import cpu, sam3
from shoal.errors import (
    EngineUnavailable,
    InvalidPrompt,
    ShoalError,
    UnknownEngine,
    UnknownPrompt,
    UnsupportedByEngine,
)
from shoal.model.job import Options, Split
from shoal.model.prompts import Exemplar, Removal, VisualPrompt
from shoal.model.sam3_options import changed

AUTO = "auto"


class Feature(StrEnum):
    """What a job or a preview may use besides text prompts, by its name in the submission.

    A refusal names the first that is not supported, in this order.
    """

    POINTS = "points"
    BOX = "box"
    MASK = "mask"
    REMOVE_OBJECTS = "remove_objects"
    EXEMPLARS = "exemplars"
    OBJECT_ID = "object_id"
    TRACK_FPS = "track_fps"
    SAM3_OPTIONS = "settings of SAM 3"
    MAX_OBJECTS = "max_objects"
    SCORE_THRESHOLD = "score_threshold"
    PREVIEW = "preview"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Engine:
    """The capabilities of one engine.

    Attributes:
        check: raises UnknownPrompt or InvalidPrompt for a prompt that it does not support.
        cannot: unsupported features, each with the reason.
        device: prefix of the required device of its workers; empty for any.
    """

    check: Callable[[str], object]
    cannot: Mapping[Feature, str] = field(default_factory=dict)
    device: str = ""


_ORDER = {feature: place for place, feature in enumerate(Feature)}

# The most capable engine comes last: what it rejects, no engine supports.
_ENGINES: dict[str, Engine] = {
    "cpu": Engine(
        cpu.resolve,
        dict.fromkeys(
            (Feature.POINTS, Feature.BOX, Feature.MASK, Feature.EXEMPLARS, Feature.OBJECT_ID),
            "it supports text prompts only",
        )
        | {
            Feature.TRACK_FPS: "it has a rate of its own, up to 15 frames per second",
            Feature.SAM3_OPTIONS: "they are settings of the engine sam3",
        },
    ),
    "sam3-native": Engine(
        sam3.check,  # the same text encoder
        {
            Feature.MASK: "Meta's predictor supports points and boxes only",
            Feature.EXEMPLARS: "Meta's predictor takes one box, and uses it on its own frame only",
            Feature.OBJECT_ID: "it corrects objects of visual prompts only",
            Feature.SAM3_OPTIONS: "they are settings of the engine sam3",
            Feature.PREVIEW: "Meta's predictor sees whole videos only",
        },
        device="cuda",
    ),
    "sam3": Engine(sam3.check),
}


def names() -> tuple[str, ...]:
    """The names of all engines, without ``auto``."""
    return tuple(_ENGINES)


def corrects(engine: str) -> bool:
    """Whether an engine continues from a checkpoint with corrections that came later."""
    known = _ENGINES.get(engine)
    return known is not None and Feature.OBJECT_ID not in known.cannot


def features(
    options: Options,
    objects: Iterable[VisualPrompt],
    remove_objects: Iterable[Removal],
    exemplars: Iterable[Exemplar] = (),
) -> frozenset[Feature]:
    """The features that a job uses besides text prompts."""
    used = {
        Feature.MAX_OBJECTS: options.max_objects > 0,
        Feature.SAM3_OPTIONS: changed(options) is not None,
        Feature.TRACK_FPS: options.track_fps is not None,
        Feature.SCORE_THRESHOLD: options.score_threshold is not None,
        Feature.SPLIT: options.split is not Split.OFF,
        Feature.REMOVE_OBJECTS: any(True for _ in remove_objects),
        Feature.EXEMPLARS: any(True for _ in exemplars),
    }
    for each in objects:
        used[Feature.POINTS] = used.get(Feature.POINTS, False) or bool(each.points)
        used[Feature.BOX] = used.get(Feature.BOX, False) or each.box is not None
        used[Feature.OBJECT_ID] = used.get(Feature.OBJECT_ID, False) or each.object_id is not None
        used[Feature.MASK] = used.get(Feature.MASK, False) or each.mask is not None
    return frozenset(feature for feature, is_used in used.items() if is_used)


def check(engine: str, prompts: Iterable[str], used: Iterable[Feature] = ()) -> None:
    """Check at submit time that an engine supports a job.

    For ``auto`` one engine must support it; a worker with another engine still rejects the job.

    Raises:
        UnknownEngine: there is no engine of this name.
        UnknownPrompt: no permitted engine recognizes a prompt.
        InvalidPrompt: a prompt is too long for all of them.
        UnsupportedByEngine: none of them supports a feature of the job.
    """
    if engine != AUTO and engine not in _ENGINES:
        choices = ", ".join((AUTO, *_ENGINES))
        raise UnknownEngine(f"unknown engine {engine!r}", hint=f"Choose one of {choices}.")
    prompts, used = tuple(prompts), tuple(used)
    candidates = _ENGINES if engine == AUTO else (engine,)
    refusal: ShoalError | None = None
    for name in candidates:
        refusal = _refusal(name, prompts, used)
        if refusal is None:
            return
    if refusal:
        raise refusal


def all_can(prompts: Sequence[str], used: Iterable[Feature]) -> bool:
    """Whether every engine supports a job, so that ``check_loaded`` need not be called."""
    used = tuple(used)
    return not any(_refusal(name, prompts, used) for name in _ENGINES)


def check_loaded(loaded: Iterable[str], prompts: Sequence[str], used: Iterable[Feature]) -> None:
    """Check at submit time that a connected worker supports a job with engine ``auto``.

    Args:
        loaded: ``WorkerInfo.engine`` of the connected workers. The job is accepted if one of them
            is still starting or has a custom engine, or if there are no workers.

    Raises:
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: no loaded engine supports the job.
    """
    used, loaded = tuple(used), tuple(dict.fromkeys(loaded))
    if not loaded or any(name not in _ENGINES for name in loaded):
        return
    refusals = [_refusal(name, prompts, used) for name in loaded]
    if (first := refusals[0]) and all(refusals):
        raise first


def supports(engine: str, prompts: Sequence[str], used: Iterable[Feature]) -> bool:
    """Whether an engine supports this; of an engine of the operator's own that is not known."""
    return engine not in _ENGINES or _refusal(engine, prompts, used) is None


def limits(engine: str, loaded: Iterable[str] = ()) -> dict[str, str]:
    """The features that an engine does not support, each with the reason.

    Args:
        loaded: ``WorkerInfo.engine`` of the connected workers: with ``auto``, a feature counts that
            none of them supports.
    """
    if engine != AUTO:
        return {feature.value: reason for feature, reason in _ENGINES[engine].cannot.items()}
    names = sorted(set(loaded))
    lists = [_ENGINES[name].cannot if name in _ENGINES else {} for name in names]
    shared = [feature for feature in Feature if lists and all(feature in each for each in lists)]
    return {
        feature.value: f"no connected worker supports it ({names[0]}: {lists[0][feature]})"
        for feature in shared
    }


def needs_device(engine: str) -> bool:
    """Whether the engine requires a device, so that ``check_devices`` applies."""
    return engine in _ENGINES and bool(_ENGINES[engine].device)


def check_devices(engine: str, devices: Iterable[str]) -> None:
    """Check at submit time that a connected worker has the device of an engine.

    Args:
        devices: ``WorkerInfo.device`` of the connected workers. The job is accepted if one of
            them is still starting, or if there are no workers.

    Raises:
        EngineUnavailable: all workers have other devices.
    """
    prefix, devices = _ENGINES[engine].device, tuple(devices)
    if devices and not any(not each or each.startswith(prefix) for each in devices):
        raise EngineUnavailable(
            f"the {engine} engine requires a {prefix.upper()} GPU; no connected worker has one",
            hint=f"Start a worker with SHOAL_ENGINE={engine} on a machine with a "
            f"{prefix.upper()} GPU, or remove 'engine'.",
        )


def check_running(engine: str, loaded: Iterable[str]) -> None:
    """Check at submit time that a connected worker runs an engine that a job names.

    Args:
        loaded: as in ``check_loaded``. The job is accepted if a worker is still starting, or if
            there are no workers.

    Raises:
        EngineUnavailable: all workers run other engines, so each would fail the job.
    """
    loaded = tuple(dict.fromkeys(loaded))
    if loaded and engine not in loaded and all(loaded):
        raise EngineUnavailable(
            f"no worker available for the {engine} engine: those connected run {', '.join(loaded)}",
            hint=f"Start a worker with SHOAL_ENGINE={engine}, or remove 'engine'.",
        )


def _refusal(
    name: str, prompts: Sequence[str], used: Iterable[Feature]
) -> UnknownPrompt | InvalidPrompt | UnsupportedByEngine | None:
    """Why an engine does not support a job; ``None`` if it does."""
    try:
        _check_features(name, used)
        for prompt in prompts:
            _ENGINES[name].check(prompt)
    except (UnknownPrompt, InvalidPrompt, UnsupportedByEngine) as refusal:
        return refusal
    return None


def _check_features(name: str, used: Iterable[Feature]) -> None:
    for feature in sorted(used, key=_ORDER.__getitem__):
        if reason := _ENGINES[name].cannot.get(feature):
            able = [other for other in _ENGINES if feature not in _ENGINES[other].cannot]
            raise UnsupportedByEngine(
                f"the {name} engine does not support {feature.value!r}: {reason}",
                hint=f"Remove it, or use an engine that supports it: {', '.join(able)}."
                if able
                else None,
            )
