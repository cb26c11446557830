"""How fast frames are written at the moment."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 30.0
LEAST_S = 5.0  # the first frames come in bursts, and tell nothing of those to come


class Pace:
    """Frames per second over the last ``WINDOW_S``: a slow start does not count for long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()  # when, and how many frames there were

    def at(self, frames: int) -> float:
        """
        Args:
            frames: how many are written now, from any start.

        Returns:
            Frames per second; 0 while less than ``LEAST_S`` are measured.
        """
        now = self._clock()
        self._seen.append((now, frames))
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()
        began, before = self._seen[0]
        span = now - began
        return (frames - before) / span if span >= LEAST_S else 0.0
