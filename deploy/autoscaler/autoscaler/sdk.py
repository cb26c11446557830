"""SkyPilot's SDK, with an end to every call and one kind of error."""

from __future__ import annotations

import operator
import queue
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

from shoal.errors import DeploymentError, LauncherUnavailable

T = TypeVar("T")

CALL_S = 120.0  # a call that takes longer is given up


class NothingLaunchedYet(LauncherUnavailable):
    """SkyPilot has no controller of jobs: there has been neither pool nor job, or not for long."""


class Sdk:
    """``library`` is the module ``sky``, which only this package's environment has."""

    def __init__(self, library: Any, call_s: float = CALL_S) -> None:
        self.library = library
        self.call_s = call_s

    def task(self, config: dict[str, Any], secrets: Mapping[str, str]) -> Any:
        """A task of the secrets that ``config`` names.

        Raises:
            DeploymentError: SkyPilot refuses it.
        """
        named = [(name, secrets[name]) for name in config.get("secrets", {}) if name in secrets]
        try:
            # It takes apart what it is given.
            task = self.library.Task.from_yaml_config(deepcopy(config), secrets_overrides=named)
            task.validate()
        except Exception as error:  # SkyPilot's own classes share no base
            raise refused(config, error) from error
        return task

    def ask(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """The answer to a request, such as ``jobs.launch``.

        Raises:
            NothingLaunchedYet
            LauncherUnavailable: SkyPilot does not answer, or the request failed there.
        """
        request = operator.attrgetter(name)(self.library)
        try:
            return within(self.call_s, lambda: self.library.get(request(*args, **kwargs)))
        except Exception as error:  # the SDK raises again here whatever the server met
            cause = " ".join(str(error).split()) or type(error).__name__
            none_yet = type(error).__name__ == "ClusterNotUpError"
            kind = NothingLaunchedYet if none_yet else LauncherUnavailable
            raise kind(f"SkyPilot ({name}): {cause}") from error


def refused(config: dict[str, Any], error: Exception) -> DeploymentError:
    cause = " ".join(str(error).split())
    return DeploymentError(f"SkyPilot refuses {config.get('name', 'the task')}: {cause}")


def within(seconds: float, call: Callable[[], T]) -> T:
    """The outcome of ``call``, which knows no limit of its own.

    Raises:
        TimeoutError: it goes on in a thread that nobody waits for.
    """
    outcome: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:  # raised again below, in the caller's thread
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error:
        raise error
    return result  # type: ignore[return-value]  # None only where T allows it
