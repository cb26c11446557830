"""What a run over a video has done so far."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from worker.engines.base import FrameResult
from worker.video.frame import Frame
from worker.video.position import Extent


@dataclass(slots=True)
class Summary:
    """Counts of a run. Objects are counted on written frames.

    Attributes:
        extent: how far the video was read, and what was amiss; known when a pass has ended.
        frames_tracked: seen by the predictor.
        frames_written: seen by the sinks.
        frames_prompted: those seen by the predictor that have visual prompts.
        detections: objects summed over written frames: the rows of the mask table.
        object_ids: of each prompt, in the job's order.
        first_time_s, last_time_s: the least and the greatest of the written frames, in seconds
            since the source's first.
        busy_s: seconds that each stage worked, waiting left out: 'decode', 'predict' and the
            sinks by name. Stages overlap, so the sum is more than the clock shows.
    """

    extent: Extent = field(default_factory=Extent)
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

    def expect(self, prompts: Iterable[str]) -> None:
        """List these prompts and the pipeline's own stages, also if nothing comes of them."""
        for prompt in prompts:
            self.object_ids.setdefault(prompt, set())
        for stage in ("decode", "predict"):
            self.busy_s.setdefault(stage, 0.0)

    def count(self, frame: Frame, result: FrameResult) -> None:
        """Add a written frame."""
        self.first_time_s = min(frame.time_s, self.first_time_s if self.frames_written else inf)
        self.last_time_s = max(frame.time_s, self.last_time_s)
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
