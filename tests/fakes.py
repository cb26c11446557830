"""Predictors that misbehave on purpose. ``SHOAL_ENGINE=tests.fakes:NAME`` loads one."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import CheckpointUnusable
from worker.engines.base import FrameResult, Mask, ObjectResult, Query
from worker.video.frame import Frame, VideoInfo


def first_time(name: str) -> bool:
    """Whether this is the first call with ``name`` in this data directory."""
    note = Path(os.environ["SHOAL_DATA_DIR"]) / name
    if note.exists():
        return False
    note.touch()
    return True


class FakeSession:
    """One square per label, drifting to the right."""

    def __init__(self, predictor: Fake, query: Query) -> None:
        self.predictor = predictor
        self.prompts = query.labels

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: Frame) -> FrameResult:
        self.predictor.before_frame(frame)
        objects = []
        for number, prompt in enumerate(self.prompts, start=1):
            x, y = frame.index % 50, 20 * number
            mask = Mask(x, y, np.ones((10, 10), np.uint8))
            objects.append(ObjectResult(number, prompt, 0.9, (x, y, x + 10.0, y + 10.0), mask))
        return FrameResult(frame.index, objects)

    def finish(self) -> list[FrameResult]:
        return []

    def state(self) -> bytes:
        return b""

    def close(self) -> None:
        self.predictor.sessions_open -= 1


class Fake:
    """Well behaved, and fast."""

    name = "fake"
    device = "cpu"
    steps_again = False

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.sessions_open = 0

    def tracking_fps(self, video: VideoInfo) -> float:
        return 0.0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.sessions_open += 1
        return FakeSession(self, query)

    def before_frame(self, frame: Frame) -> None:
        """Where a subclass misbehaves."""


class Slow(Fake):
    """50 ms per frame: time enough to be interrupted."""

    def before_frame(self, frame: Frame) -> None:
        time.sleep(0.05)


class SlowToLoad(Fake):
    """Takes a minute to load."""

    def __init__(self) -> None:
        super().__init__()
        time.sleep(60)


class Stuck(Fake):
    """Holds the GIL for good at frame 3, as a hanging C call does."""

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 3:
            ctypes.PyDLL(None).sleep(1000)


class StuckOnce(Stuck):
    """Hangs the first time only."""

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 3 and first_time("stuck-once"):
            super().before_frame(frame)


class Crashing(Fake):
    """Dies of a segmentation fault at frame 5 of a long video, every time."""

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 5:
            print("before the crash", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)


class CrashingOnce(Slow):
    """Killed at frame 5, the first time only."""

    def before_frame(self, frame: Frame) -> None:
        super().before_frame(frame)
        if frame.index == 5 and first_time("crashed-once"):
            os.kill(os.getpid(), signal.SIGKILL)


class GpuFailing(Fake):
    """Its GPU fails at frame 5, the first time only; the same process would never recover."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def before_frame(self, frame: Frame) -> None:
        import torch

        if frame.index == 5 and first_time("gpu-failed"):
            self.broken = True
        if self.broken:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nand more")


class Raising(Fake):
    """Raises what no one expects."""

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 2:
            raise ZeroDivisionError("a fault in the predictor")


class Unloadable(Fake):
    """Cannot be loaded."""

    def __init__(self) -> None:
        super().__init__()
        raise OSError("the weights are not there")


class LoadsForAWhile(Fake):
    """As weights are that have to be fetched first."""

    def __init__(self) -> None:
        super().__init__()
        time.sleep(2)


class Counting(Fake):
    """Its results tell how many frames it has seen, and lag behind: a frame that is stepped twice
    or not at all shows. With SHOAL_STEPS each stepped frame is noted in that file."""

    LAG = 3

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> CountingSession:
        self.sessions_open += 1
        return CountingSession(self, query, state)

    def before_frame(self, frame: Frame) -> None:
        if path := os.environ.get("SHOAL_STEPS"):
            with Path(path).open("a") as notes:
                notes.write(f"{os.getpid()} {frame.index}\n")


class CountingSlowly(Counting):
    """50 ms per frame."""

    def before_frame(self, frame: Frame) -> None:
        super().before_frame(frame)
        time.sleep(0.05)


class CountingSession(FakeSession):
    """Keeps the number of frames seen, and the results it owes as (index, number)."""

    VERSION = 1

    def __init__(self, predictor: Counting, query: Query, state: bytes | None) -> None:
        super().__init__(predictor, query)
        start = {"version": self.VERSION, "seen": 0, "owed": []}
        known: dict[str, Any] = json.loads(state) if state else start
        if known["version"] != self.VERSION:
            raise CheckpointUnusable("a state of another version")
        self.seen: int = known["seen"]
        self.owed: list[tuple[int, int]] = known["owed"]

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        for frame in frames:
            self.predictor.before_frame(frame)
            self.seen += 1
            self.owed.append((frame.index, self.seen))
        return self._answer(max(0, len(self.owed) - Counting.LAG))

    def finish(self) -> list[FrameResult]:
        return self._answer(len(self.owed))

    def _answer(self, count: int) -> list[FrameResult]:
        due, self.owed = self.owed[:count], self.owed[count:]
        return [FrameResult(index, self._objects(seen)) for index, seen in due]

    def _objects(self, seen: int) -> list[ObjectResult]:
        box = (seen % 50, 20, seen % 50 + 10.0, 30.0)
        mask = Mask(seen % 50, 20, np.ones((10, 10), np.uint8))
        prompt = self.prompts[seen % len(self.prompts)]
        return [ObjectResult(1 + seen // 10, prompt, seen / 1000, box, mask)]

    def state(self) -> bytes:
        return json.dumps({"version": self.VERSION, "seen": self.seen, "owed": self.owed}).encode()


class HoggingOnce(Fake):
    """Takes 1 GiB at frame 5, the first time only, in small bites."""

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 5 and first_time("hogged"):
            bites = []
            for _ in range(256):
                bites.append(np.ones(4 << 20, np.uint8))
                time.sleep(0.02)
            time.sleep(60)  # it is killed before that, also by a parent that stood still


class Chatty(Fake):
    """Says that it is done with a job a second after its model is loaded, when it has none."""

    def __init__(self) -> None:
        super().__init__()
        done = b'{"kind":"done","results":{},"summary":{}}'
        data = len(done).to_bytes(4, "big") + done
        threading.Timer(1, os.write, (int(sys.argv[1]), data)).start()


class LyingOnce(Fake):
    """Sends its parent the prompt as a message, at frame 5, the first time only.

    With a '!' before it without its length, with a '?' with a length that is more than it has.
    """

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.lie = query.labels[0]
        return super().open(video, query, state)

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 5 and first_time("lied"):
            data = self.lie.strip("!?").encode()
            length = len(data) + 1000 * self.lie.startswith("?")
            head = b"" if self.lie.startswith("!") else length.to_bytes(4, "big")
            os.write(int(sys.argv[1]), head + data)
            time.sleep(60)


class TakingAllDown(Fake):
    """Kills its parent, and so itself, at frame 5 of a video whose prompt is "bomb"."""

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> FakeSession:
        self.is_bomb = query.labels == ("bomb",)
        return super().open(video, query, state)

    def before_frame(self, frame: Frame) -> None:
        if frame.index == 5 and self.is_bomb:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
