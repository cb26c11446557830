"""What is known of every engine before a worker sees the job: its name and its words.

The models live in ``worker.predictors``; nothing here needs numpy or a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shoal.engines import cpu, sam3
from shoal.errors import InvalidPrompt, UnknownEngine, UnknownPrompt

AUTO = "auto"

# Name -> what raises UnknownPrompt or InvalidPrompt for a prompt that the engine cannot answer.
# The engine that can answer most comes last: what it refuses, no engine answers.
_CHECKS: dict[str, Callable[[str], object]] = {"cpu": cpu.resolve, "sam3": sam3.check}


def names() -> tuple[str, ...]:
    """The engines there are, without ``auto``, which stands for whichever the worker chooses."""
    return tuple(_CHECKS)


def check_prompts(engine: str, prompts: Iterable[str]) -> None:
    """Tell at submit time whether an engine can answer all the prompts of a job.

    ``auto`` needs one engine that can; a worker that has only another still refuses the job.

    Raises:
        UnknownEngine: there is no engine of this name.
        UnknownPrompt: no engine that may be used has a word for a prompt.
        InvalidPrompt: a prompt is too long for all of them.
    """
    if engine != AUTO and engine not in _CHECKS:
        known = ", ".join((AUTO, *_CHECKS))
        raise UnknownEngine(f"there is no engine {engine!r}", hint=f"Choose one of {known}.")
    prompts = tuple(prompts)
    refusals = []
    for name in _CHECKS if engine == AUTO else (engine,):
        try:
            for prompt in prompts:
                _CHECKS[name](prompt)
        except (UnknownPrompt, InvalidPrompt) as refusal:
            refusals.append(refusal)
        else:
            return
    raise refusals[-1]
