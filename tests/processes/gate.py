"""Engines whose video stands still in the middle until the test lets it go on.

A test that looks at a running video, or breaks into one, meets it there, however slow the machine
is and whoever pauses on it.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from shoal.model.job import State
from tests.fakes import CountingSlowly, Fake
from tests.running import Processes, eventually, held
from worker.video.frame import Frame

CLOSED_AT = 30  # the frame of a model process, counted from 1, that waits


class Gate:
    """Closed until ``open``.

    Attributes:
        env: what workers need that are to wait at it.
    """

    def __init__(self, processes: Processes, path: Path) -> None:
        path.touch()
        self._path = path
        processes.env["SHOAL_MODEL_ENV"] += ",SHOAL_GATE"
        self.env = {"SHOAL_GATE": str(path)}

    def open(self) -> None:
        self._path.unlink()


def wait_for_gate() -> None:
    gate = os.environ.get("SHOAL_GATE")
    while gate and Path(gate).exists():
        time.sleep(0.02)


class Gated(Fake):
    """Slow up to the gate, so that its first frames are told; fast after it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def before_frame(self, frame: Frame) -> None:
        self.count += 1
        if self.count < CLOSED_AT:
            time.sleep(0.05)
        elif self.count == CLOSED_AT:
            wait_for_gate()


class GatedCounting(CountingSlowly):
    """Slow after the gate as well: what asks it to stop is heard before its video is over."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def before_frame(self, frame: Frame) -> None:
        super().before_frame(frame)
        self.count += 1
        if self.count == CLOSED_AT:
            wait_for_gate()


def told_to_go(processes: Processes, worker: subprocess.Popen[bytes], job_id: str) -> bool:
    """Send SIGTERM to a worker in the middle of a job; false, and it stays, where that is over."""
    with held(worker):
        if processes.queue.records.get(job_id).state != State.RUNNING:
            return False
        worker.terminate()
        eventually(lambda: f"job {job_id} stops" in processes.logs(), "the worker to heed it")
    return True
