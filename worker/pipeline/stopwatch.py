"""Where the time goes: seconds by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

TOTAL = "total"


class Stopwatch:
    """Stages come one after the other; ``total`` runs from the start, between them too."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._started = time.monotonic()
        self._running: tuple[str, float] | None = None  # the stage, and when it began

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._running = name, time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self.so_far()[name]
            self._running = None

    def so_far(self) -> dict[str, float]:
        """Seconds by stage, up to now."""
        at = time.monotonic()
        seconds = dict(self._seconds)
        seconds[TOTAL] = at - self._started
        if self._running:
            name, began = self._running
            seconds[name] = seconds.get(name, 0.0) + at - began
        return seconds
