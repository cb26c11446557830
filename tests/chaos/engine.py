"""The engine of the chaos suite: its results tell when a frame was stepped twice or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from tests.chaos.barrier import SLOT, come_to, slot
from tests.chaos.stages import MID_PART, wrap_model
from tests.fakes import Counting, CountingSession
from worker.engines.base import FrameResult, Query
from worker.video.frame import Frame, VideoInfo

STEP_S = 0.01


class Session(CountingSession):
    """Waits at the stages that are frames, and notes each step: (frame, seconds that it took)."""

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        (frame,) = frames
        _come_to_frame(frame.index, "before")
        started = time.monotonic()
        time.sleep(STEP_S)
        results = super().step(frames)
        spent = time.monotonic() - started
        with (slot().parent / "steps").open("a") as notes:
            notes.write(f"{frame.index} {spent:.4f}\n")
        _come_to_frame(frame.index, "after")
        return results


def _come_to_frame(index: int, moment: str) -> None:
    if index == 0:
        come_to("first frame", moment)
    come_to(MID_PART, moment)


class Engine(Counting):
    """``SHOAL_ENGINE=tests.chaos.engine:Engine``; outside of a slot it is an ordinary one."""

    def __init__(self) -> None:
        super().__init__()
        self._waits = SLOT in os.environ
        if self._waits:
            wrap_model()

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> CountingSession:
        if not self._waits:
            return super().open(video, query, state)
        self.sessions_open += 1
        return Session(self, query, state)
