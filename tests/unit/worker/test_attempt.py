"""When a video counts as stalled."""

from __future__ import annotations

import time
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shoal.model.failure import Failure
from shoal.model.record import Forecast, Progress
from shoal.queue.lease import Lease
from shoal.settings import Settings
from worker.attempt import Attempt
from worker.model_handle import ModelProcess
from worker.protocol import Beat, Done, Report

STALL_S = 0.6


class Lessor:
    """A lease that is always ours, and the failure it was told of."""

    def __init__(self) -> None:
        self.record = SimpleNamespace(id="a", progress=Progress(), hourly_price=3.6)
        self.failure: Failure | None = None
        self.succeeded = False

    def heartbeat(self, progress: Progress) -> bool:
        return False

    def fail(self, failure: Failure, log: Any) -> None:
        self.failure = failure

    def succeed(self, results: Any, summary: Any, timings: Any) -> None:
        self.succeeded = True


class Scripted:
    """A model process that sends messages after pauses in seconds, then nothing."""

    def __init__(self, *script: tuple[float, Any]) -> None:
        self.script = deque(script)
        self.log_tail: deque[str] = deque()
        self.killed = False
        self._due = time.monotonic() + script[0][0]

    def wait(self, timeout_s: float) -> Any:
        time.sleep(0.02)
        if not self.script or time.monotonic() < self._due:
            return None
        _, message = self.script.popleft()
        self._due = time.monotonic() + (self.script[0][0] if self.script else 0)
        return message

    def kill(self) -> None:
        self.killed = True


def watch(*script: tuple[float, Any]) -> tuple[Lessor, Scripted]:
    lease, model = Lessor(), Scripted(*script)
    attempt = Attempt(
        cast("Lease", lease),
        cast("ModelProcess", model),
        Settings(stall_s=STALL_S, beat_s=0.1),
        must_go=lambda: False,
        on_beat=lambda: None,
    )
    attempt._watch().write()
    return lease, model


def report(stage: str, frames: int = 0) -> Report:
    return Report(progress=Progress(stage=stage, frames=frames))


DONE = Done(results={}, summary={})


def test_the_same_frame_for_too_long_is_a_stall() -> None:
    lease, model = watch((0, report("process", 7)), (0.2, report("process", 7)), (3, DONE))
    assert lease.failure is not None
    assert lease.failure.code == "model_stalled"
    assert "'process', frame 7" in lease.failure.message
    assert lease.failure.transient
    assert model.killed


def test_costs_are_told_and_are_no_progress() -> None:
    told = Report(progress=Progress(stage="process", forecast=Forecast(seconds=1000)))
    lease, _ = watch(*[(STALL_S / 2, told.model_copy(deep=True)) for _ in range(4)], (0, DONE))
    assert lease.failure is not None
    assert lease.failure.code == "model_stalled"
    assert lease.record.progress.forecast.cost == pytest.approx(1.0)


@pytest.mark.parametrize("stage", ["fetch", "publish"])
def test_a_long_transfer_is_no_stall(stage: str) -> None:
    lease, model = watch((0, report(stage)), (3 * STALL_S, DONE))
    assert lease.succeeded
    assert not model.killed


def test_the_clock_starts_anew_after_a_transfer() -> None:
    lease, _ = watch((0, report("fetch")), (2 * STALL_S, report("open")), (3, DONE))
    assert lease.failure is not None
    assert lease.failure.code == "model_stalled"


def test_work_that_finishes_no_frame_is_no_stall() -> None:
    """Such as a window of 256 frames, whose results come together."""
    beats = [(STALL_S / 2, Beat()) for _ in range(5)]
    lease, _ = watch((0, report("process")), *beats, (0, DONE))
    assert lease.succeeded


def test_slow_frames_are_no_stall() -> None:
    steps = [(STALL_S / 2, report("process", number)) for number in range(5)]
    lease, _ = watch(*steps, (0, DONE))
    assert lease.succeeded
