"""What a run over a video has done so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.predictors.base import FrameResult
from worker.video.frame import Frame


@dataclass(slots=True)
class Summary:
    """Counts of a run. Objects are counted on written frames.

    Attributes:
        frames_read: decoded, needed or not; known when all is read.
        frames_tracked: seen by the predictor.
        frames_written: seen by the sinks.
        frames_prompted: those seen by the predictor that have visual prompts.
        detections: objects summed over written frames: the rows of the mask table.
        object_ids: of each prompt, in the job's order.
        first_time_s, last_time_s: of the written frames, in seconds since the source's first.
        busy_s: seconds that each stage worked, waiting left out: 'decode', 'predict' and the
            sinks by name. Stages overlap, so the sum is more than the clock shows.
    """

    frames_read: int = 0
    frames_tracked: int = 0
    frames_written: int = 0
    frames_prompted: set[int] = field(default_factory=set)
    detections: int = 0
    object_ids: dict[str, set[int]] = field(default_factory=dict)
    first_time_s: float = 0.0
    last_time_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)

    @property
    def objects_per_prompt(self) -> dict[str, int]:
        """Distinct objects of each prompt."""
        return {prompt: len(ids) for prompt, ids in self.object_ids.items()}

    @property
    def objects_detected(self) -> int:
        """Distinct objects of all prompts."""
        return sum(self.objects_per_prompt.values())

    @property
    def output_fps(self) -> float:
        """Mean frames per second of what was written; 0 for a single frame."""
        seconds = self.last_time_s - self.first_time_s
        return (self.frames_written - 1) / seconds if seconds > 0 else 0.0

    def count(self, frame: Frame, result: FrameResult) -> None:
        """Add a written frame."""
        if self.frames_written == 0:
            self.first_time_s = frame.time_s
        self.last_time_s = frame.time_s
        self.frames_written += 1
        self.detections += len(result.objects)
        for item in result.objects:
            self.object_ids[item.prompt].add(item.object_id)

    @contextlib.contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Add the time within to the stage's, which is timed by one thread at a time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.busy_s[stage] += time.perf_counter() - start
