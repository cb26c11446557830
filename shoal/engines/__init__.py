"""What is known of every engine before a worker sees the job: its name, its words, its limits.

The models live in ``worker.predictors``; nothing here needs numpy or a model.
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
from shoal.jobs import Options
from shoal.prompts import Removal, VisualPrompt

AUTO = "auto"


class Feature(StrEnum):
    """What a job may ask for besides words, by its name in the submission."""

    POINTS = "points"
    BOX = "box"
    MASK = "mask"
    REMOVE_OBJECTS = "remove_objects"
    MAX_OBJECTS = "max_objects"
    SCORE_THRESHOLD = "score_threshold"


@dataclass(frozen=True, slots=True)
class Engine:
    """What one engine can be asked.

    Attributes:
        check: raises UnknownPrompt or InvalidPrompt for a prompt that it cannot answer.
        cannot: what it cannot do, and why not.
        device: what the name of its workers' device begins with; empty for any.
    """

    check: Callable[[str], object]
    cannot: Mapping[Feature, str] = field(default_factory=dict)
    device: str = ""


# The engine that can do most comes last: what it refuses, no engine does.
_ENGINES: dict[str, Engine] = {
    "cpu": Engine(
        cpu.resolve,
        dict.fromkeys(
            (Feature.POINTS, Feature.BOX, Feature.MASK),
            "it finds objects by words alone",
        ),
    ),
    "sam3-native": Engine(
        sam3.check,  # the same text encoder
        {Feature.MASK: "the requests of Meta's predictor know points and boxes only"},
        device="cuda",
    ),
    "sam3": Engine(sam3.check),
}


def names() -> tuple[str, ...]:
    """The engines there are, without ``auto``, which stands for whichever the worker chooses."""
    return tuple(_ENGINES)


def features(
    options: Options, objects: Iterable[VisualPrompt], remove_objects: Iterable[Removal]
) -> frozenset[Feature]:
    """What a job asks for besides words."""
    used = {
        Feature.MAX_OBJECTS: options.max_objects > 0,
        Feature.SCORE_THRESHOLD: options.score_threshold is not None,
        Feature.REMOVE_OBJECTS: any(True for _ in remove_objects),
    }
    for each in objects:
        used[Feature.POINTS] = used.get(Feature.POINTS, False) or bool(each.points)
        used[Feature.BOX] = used.get(Feature.BOX, False) or each.box is not None
        used[Feature.MASK] = used.get(Feature.MASK, False) or each.mask is not None
    return frozenset(feature for feature, is_used in used.items() if is_used)


def check(engine: str, prompts: Iterable[str], asked: Iterable[Feature] = ()) -> None:
    """Tell at submit time whether an engine can do what a job asks for.

    ``auto`` needs one engine that can; a worker that has only another still refuses the job.

    Raises:
        UnknownEngine: there is no engine of this name.
        UnknownPrompt: no engine that may be used has a word for a prompt.
        InvalidPrompt: a prompt is too long for all of them.
        UnsupportedByEngine: none of them can do what is asked besides.
    """
    if engine != AUTO and engine not in _ENGINES:
        known = ", ".join((AUTO, *_ENGINES))
        raise UnknownEngine(f"there is no engine {engine!r}", hint=f"Choose one of {known}.")
    prompts, asked = tuple(prompts), tuple(asked)
    candidates = _ENGINES if engine == AUTO else (engine,)
    refusal: ShoalError | None = None
    for name in candidates:
        refusal = _refusal(name, prompts, asked)
        if refusal is None:
            return
    if refusal:
        raise refusal


def all_can(prompts: Sequence[str], asked: Iterable[Feature]) -> bool:
    """Whether it does not matter which engine a worker has: ``check_loaded`` would not refuse."""
    asked = tuple(asked)
    return not any(_refusal(name, prompts, asked) for name in _ENGINES)


def check_loaded(loaded: Iterable[str], prompts: Sequence[str], asked: Iterable[Feature]) -> None:
    """Tell at submit time that no worker there is can do what a job with ``auto`` asks for.

    Args:
        loaded: ``WorkerInfo.engine`` of those that there are. One that is still starting has none
            yet, and may be any; so may an operator's own. Without workers some may come.

    Raises:
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: all of them have engines that cannot.
    """
    asked, loaded = tuple(asked), tuple(dict.fromkeys(loaded))
    if not loaded or any(name not in _ENGINES for name in loaded):
        return
    refusals = [_refusal(name, prompts, asked) for name in loaded]
    if (first := refusals[0]) and all(refusals):
        raise first


def needs_device(engine: str) -> bool:
    """Whether ``check_devices`` has anything to check."""
    return engine in _ENGINES and bool(_ENGINES[engine].device)


def check_devices(engine: str, devices: Iterable[str]) -> None:
    """Tell at submit time that no worker could ever run an engine.

    Args:
        devices: ``WorkerInfo.device`` of those that there are. One that is still starting has
            none yet, and may be any. Without workers there is nothing to tell: some may come.

    Raises:
        EngineUnavailable: all of them are of another kind.
    """
    wanted, devices = _ENGINES[engine].device, tuple(devices)
    if devices and not any(not each or each.startswith(wanted) for each in devices):
        raise EngineUnavailable(
            f"the {engine} engine runs on {wanted.upper()} devices only, and the workers have "
            f"none: {', '.join(dict.fromkeys(devices))}",
            hint=f"Start a worker with SHOAL_ENGINE={engine} where there is a "
            f"{wanted.upper()} device, or leave out 'engine'.",
        )


def _refusal(
    name: str, prompts: Sequence[str], asked: Iterable[Feature]
) -> UnknownPrompt | InvalidPrompt | UnsupportedByEngine | None:
    """Why an engine cannot do what a job asks for."""
    try:
        _check_features(name, asked)
        for prompt in prompts:
            _ENGINES[name].check(prompt)
    except (UnknownPrompt, InvalidPrompt, UnsupportedByEngine) as refusal:
        return refusal
    return None


def _check_features(name: str, asked: Iterable[Feature]) -> None:
    for feature in asked:
        if reason := _ENGINES[name].cannot.get(feature):
            able = [other for other in _ENGINES if feature not in _ENGINES[other].cannot]
            raise UnsupportedByEngine(
                f"the {name} engine cannot do {feature.value!r}: {reason}",
                hint=f"Leave it out, or use a worker with an engine that can: {', '.join(able)}."
                if able
                else None,
            )
