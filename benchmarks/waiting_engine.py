"""An engine that waits as long per frame as a GPU would compute, and costs no CPU meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from worker.engines.base import FrameResult, Query
from worker.video.frame import Frame, VideoInfo

WAIT = "BENCHMARK_WAIT_S"


class Waiting:
    """``SHOAL_ENGINE=benchmarks.waiting_engine:Waiting``; ``BENCHMARK_WAIT_S`` per frame."""

    name = "waiting"
    device = "none"
    steps_again = False

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.wait_s = float(os.environ[WAIT])

    def tracking_fps(self, video: VideoInfo) -> float:
        return 0.0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> WaitingSession:
        return WaitingSession(self.wait_s)


class WaitingSession:
    """Finds nothing, slowly."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        time.sleep(self.wait_s * len(frames))
        return [FrameResult(frame.index) for frame in frames]

    def finish(self) -> list[FrameResult]:
        return []

    def state(self) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing is held."""
