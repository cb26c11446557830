"""The time of each frame, from timestamps that may be missing, jump or repeat."""

from __future__ import annotations

from collections import deque

from shoal.errors import UnsupportedFrameRate
from worker.video.position import ClockState
from worker.video.probe import Limits


class Clock:
    """Seconds since the first frame, strictly increasing, from the stream's own timestamps.

    A timestamp that is missing or does not increase, as at the seam of two recordings, is
    replaced by the last one plus the last spacing, and what follows is shifted with it.
    """

    def __init__(self, step_s: float, limits: Limits) -> None:
        """``step_s`` is the announced spacing, used until one is measured; 0 if unknown."""
        self.frames = 0
        self.now_s = 0.0
        self.step_s = step_s
        self._limits = limits
        self._start_s = 0.0  # timestamp that counts as zero
        self._usable = 0  # timestamps that could be taken as they were
        self._last_second: deque[float] = deque()

    def tick(self, stamp_s: float | None) -> float:
        """The time of the next frame, whose timestamp is ``stamp_s``.

        Raises:
            UnsupportedFrameRate, VideoTooLarge: measured, not announced.
        """
        if self.frames == 0:
            self._start_s = stamp_s or 0.0
            self._usable = int(stamp_s is not None)
        elif stamp_s is not None and stamp_s - self._start_s > self.now_s:
            self.step_s = stamp_s - self._start_s - self.now_s
            self.now_s = stamp_s - self._start_s
            self._usable += 1
        else:
            self.now_s += self.step_s
            if stamp_s is not None:
                self._start_s = stamp_s - self.now_s
        self.frames += 1
        self._check_rate()
        self._limits.check_duration(self.now_s)
        return self.now_s

    @property
    def is_sound(self) -> bool:
        """Whether every timestamp so far was there and larger than the one before."""
        return self._usable == self.frames

    def state(self) -> ClockState:
        """All that ``resume`` needs, but the last second's times: they only guard a limit."""
        return ClockState(self.frames, self.now_s, self.step_s, self._start_s, self._usable)

    def resume(self, state: ClockState) -> None:
        """Continue as the clock that had this state."""
        self.frames, self.now_s, self.step_s = state.frames, state.now_s, state.step_s
        self._start_s, self._usable = state.start_s, state.usable
        self._last_second.clear()

    def _check_rate(self) -> None:
        times = self._last_second
        times.append(self.now_s)
        while times[0] <= self.now_s - 1:
            times.popleft()
        self._limits.check_rate(len(times))

    def finish(self) -> None:
        """Judge the whole video, once it is read.

        Raises:
            UnsupportedFrameRate: too fast, or fewer than half of its timestamps were usable.
        """
        stands_still = self.frames > 1 and self.now_s == 0
        if stands_still or self._usable * 2 < self.frames:
            raise UnsupportedFrameRate(
                f"only {self._usable} of its {self.frames} frames have a usable timestamp"
            )
        if self.frames > 1:
            self._limits.check_rate((self.frames - 1) / self.now_s)
