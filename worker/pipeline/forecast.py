"""How many frames a job will write, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.model.record import Forecast
from worker.video.sampling import Sampling


@dataclass
class Speed:
    """Frames tracked per second: of the last video that told; 0 until there was one.

    The model process keeps it from job to job, so that a forecast is there before tracking begins.
    """

    fps: float = 0.0


@dataclass(frozen=True, slots=True)
class FramePlan:
    """The frames of a job.

    Attributes:
        frames: will be written; 0 = not known.
        all_frames: would be, if all were.
        tracked_per_frame: frames that are tracked for each that is written.
    """

    sampling: Sampling
    frames: int
    all_frames: int
    tracked_per_frame: float

    def forecast(self, speed: Speed) -> Forecast:
        per_s = speed.fps
        return Forecast(
            sampled_fps=self.sampling.fps,
            reason=self.sampling.reason,
            all_frames=self.all_frames,
            seconds=round(self.frames * self.tracked_per_frame / per_s, 3) if per_s else 0.0,
            all_frames_s=round(self.all_frames / per_s, 3) if per_s else 0.0,
        )
