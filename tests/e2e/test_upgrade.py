"""A rolling upgrade: new workers come, the old ones are told to go, and nobody can tell."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from shoal.jobs import State
from shoal.queue import JobQueue
from shoal.workers import list_workers
from tests.conftest import SubmitClip
from tests.processes import Processes, eventually

ENGINE = "tests.fakes:CountingSlowly"  # 50 ms per frame, 100 frames
VIDEOS = 4


def ready(queue: JobQueue) -> int:
    return sum(each.state in ("idle", "busy") for each in list_workers(queue.redis, queue.name))


def test_old_workers_go_new_ones_take_over(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, tmp_path: Path
) -> None:
    steps = tmp_path / "steps"
    processes.env["SHOAL_STEPS"] = str(steps)
    jobs = [submit_clip((f"video {number}",)) for number in range(VIDEOS)]
    processes.start("api")  # the reaper is a part of what runs meanwhile

    old = processes.worker(ENGINE)
    processes.wait_frames(jobs[0], 10)
    new = processes.worker(ENGINE)
    eventually(lambda: ready(queue) == 2, "the new worker to have its model")
    old.send_signal(signal.SIGTERM)
    assert old.wait(30) == 0

    for job in jobs:
        assert processes.wait_state(job, "succeeded", "failed").state == State.SUCCEEDED
    assert new.poll() is None

    # Nothing is lost: every frame was stepped. Nothing is repeated: none of them twice.
    counts = Counter(line.split()[1] for line in steps.read_text().splitlines())
    assert counts == {str(index): VIDEOS for index in range(100)}
    outcomes = Counter(attempt.outcome for job in jobs for attempt in queue.records.attempts(job))
    assert outcomes == {"succeeded": VIDEOS, "preempted": 1}
