"""Which frames of a video are processed."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.model.job import AUTO, AUTO_ALL_FRAMES_S, SampleFps
from worker.video.frame import VideoInfo


@dataclass(frozen=True, slots=True)
class Sampling:
    """What became of the option ``sample_fps``.

    Attributes:
        fps: frames per second of video; 0 for every frame.
        reason: why, if the option left it open.
    """

    fps: float
    reason: str = ""

    def written_fps(self, info: VideoInfo) -> float:
        """About how many frames are written per second of a video."""
        return min(self.fps or info.fps, info.fps)


ALL_FRAMES = Sampling(0.0)


def sampling_of(asked: SampleFps, info: VideoInfo) -> Sampling:
    """Decide 'auto' by what the file announces, so that every attempt decides the same."""
    if asked != AUTO:
        return Sampling(asked)
    if not info.duration_s:
        return Sampling(1.0, "the file does not say how long it is")
    if info.duration_s > AUTO_ALL_FRAMES_S:
        return Sampling(1.0, f"it is longer than {AUTO_ALL_FRAMES_S:.0f} s")
    return Sampling(0.0, f"it is not longer than {AUTO_ALL_FRAMES_S:.0f} s")


class Sampler:
    """Choose frames by time: the nearest to each tick of a clock with ``fps`` ticks a second."""

    def __init__(self, fps: float) -> None:
        """``fps`` of 0 or less takes every frame."""
        self._fps = fps
        self.last_tick = -1

    def take(self, nearest_until_s: float) -> bool:
        """Whether to take the next frame, the nearest one to all moments until then."""
        if self._fps <= 0:
            return True
        tick = int(nearest_until_s * self._fps + 1e-6)
        taken = tick > self.last_tick
        self.last_tick = max(tick, self.last_tick)
        return taken
