"""A rolling upgrade: new workers come, the old ones are told to go, and nobody can tell."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers
from tests.conftest import SubmitClip
from tests.processes.gate import Gate
from tests.running import Processes, eventually

OLD, NEW = "tests.processes.gate:GatedCounting", "tests.fakes:Counting"
VIDEOS = 5  # of 100 frames


def ready(queue: JobQueue) -> int:
    return sum(each.state in ("idle", "busy") for each in list_workers(queue.redis, queue.name))


def test_old_workers_go_new_ones_take_over(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, gate: Gate, tmp_path: Path
) -> None:
    """The old one is in the middle of a video."""
    steps = tmp_path / "steps"
    processes.env["SHOAL_STEPS"] = str(steps)
    jobs = [submit_clip((f"video {number}",)) for number in range(VIDEOS)]
    processes.start("api")  # the reaper is a part of what runs meanwhile

    old = processes.worker(OLD, **gate.env)
    processes.wait_frames(jobs[0], 10)
    new = processes.worker(NEW)
    eventually(lambda: ready(queue) == 2, "the new worker to have its model")
    old.send_signal(signal.SIGTERM)
    eventually(lambda: f"job {jobs[0]} stops" in processes.logs(), "the old one to stop")
    gate.open()
    assert old.wait(120) == 0

    for job in jobs:
        assert processes.wait_state(job, "succeeded", "failed").state == State.SUCCEEDED
    assert new.poll() is None

    # Nothing is lost: every frame was stepped. Nothing is repeated: none of them twice.
    counts = Counter(line.split()[1] for line in steps.read_text().splitlines())
    assert counts == {str(index): VIDEOS for index in range(100)}
    outcomes = Counter(attempt.outcome for job in jobs for attempt in queue.records.attempts(job))
    assert outcomes == {"succeeded": VIDEOS, "preempted": 1}
