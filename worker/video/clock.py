"""The time of each picture, from stamps that may be missing or repeat."""

from __future__ import annotations

from collections import deque
from statistics import median_low

from shoal.errors import UnsupportedFrameRate
from worker.video.position import ClockState
from worker.video.probe import VideoLimits

LEAST_S = 2 / 90_000  # between two pictures: what is written counts in 1/90,000 s
CATCH_UP = 1 / 8  # of the usual spacing: how pictures go on until their stamps are ahead again


class Spacing:
    """The usual time between pictures: the median of the last five, in seconds."""

    def __init__(self, announced_s: float = 0.0, recent: tuple[float, ...] = ()) -> None:
        self.announced_s = announced_s
        self._recent = deque(recent, maxlen=5)

    def add(self, seconds: float) -> None:
        self._recent.append(seconds)

    def is_hole(self, seconds: float) -> bool:
        """Whether pictures that came evenly so far are missing in a spacing."""
        recent = self._recent
        is_even = len(recent) == recent.maxlen and max(recent) < 1.3 * min(recent)
        return is_even and seconds > 1.7 * self.step_s

    @property
    def recent(self) -> tuple[float, ...]:
        return tuple(self._recent)

    @property
    def step_s(self) -> float:
        """0 where nothing is known."""
        return median_low(self._recent) if self._recent else self.announced_s


class Clock:
    """Seconds since the first picture, strictly increasing.

    A stamp that is larger than the time so far is the picture's time. Any other one is replaced by
    the last time plus the usual spacing, and no stamp after it is moved: pictures and sound stay
    together.
    """

    def __init__(self, step_s: float, limits: VideoLimits) -> None:
        """``step_s`` is the announced spacing, used until one is measured; 0 if unknown."""
        self.frames = 0
        self.now_s = 0.0
        self.holes = 0  # places where pictures that came evenly are missing
        self._limits = limits
        self._spacing = Spacing(step_s)
        self._stamp_s: float | None = None  # the largest so far
        self._usable = 0  # stamps that could be taken as they were
        self._last_second: deque[float] = deque()

    def tick(self, stamp_s: float | None) -> float:
        """The time of the next picture, whose stamp is ``stamp_s`` after that of the first.

        Raises:
            UnsupportedFrameRate, VideoTooLarge: measured, not announced.
        """
        if self.frames == 0:
            self._usable = int(stamp_s is not None)
        elif stamp_s is not None and stamp_s >= self.now_s + LEAST_S:
            self.holes += self._spacing.is_hole(stamp_s - self.now_s)
            self._spacing.add(stamp_s - self.now_s)
            self.now_s = stamp_s
            self._usable += 1
        elif stamp_s is not None and self._stamp_s is not None and stamp_s > self._stamp_s:
            self.now_s += max(LEAST_S, CATCH_UP * self.step_s)
            self._usable += 1
        elif self.step_s:
            self.now_s += max(LEAST_S, self.step_s)
        if stamp_s is not None:
            self._stamp_s = max(stamp_s, self._stamp_s if self._stamp_s is not None else stamp_s)
        self.frames += 1
        self._check_rate()
        self._limits.check_duration(self.now_s)
        return self.now_s

    @property
    def is_sound(self) -> bool:
        """Whether every stamp so far was there and larger than all before."""
        return self._usable == self.frames

    @property
    def step_s(self) -> float:
        """The usual spacing; 0 if unknown."""
        return self._spacing.step_s

    def state(self) -> ClockState:
        """All that ``resume`` needs, but the last second's times: they only guard a limit."""
        return ClockState(
            self.frames, self.now_s, self._spacing.recent, self._stamp_s, self._usable, self.holes
        )

    def resume(self, state: ClockState) -> None:
        """Continue as the clock that had this state."""
        self.frames, self.now_s, self._usable = state.frames, state.now_s, state.usable
        self._spacing = Spacing(self._spacing.announced_s, state.spacings)
        self._stamp_s, self.holes = state.stamp_s, state.holes
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
            UnsupportedFrameRate: too fast, or fewer than half of its stamps were usable.
        """
        stands_still = self.frames > 1 and self.now_s == 0
        if stands_still or self._usable * 2 < self.frames:
            raise UnsupportedFrameRate(
                f"only {self._usable} of its {self.frames} frames have a usable timestamp"
            )
        if self.frames > 1:
            self._limits.check_rate((self.frames - 1) / self.now_s)
