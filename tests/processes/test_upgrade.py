"""A rolling upgrade: new workers come, the old ones are told to go, and nobody can tell."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers
from tests.conftest import SubmitClip
from tests.running import Processes, eventually

ENGINE = "tests.fakes:CountingSlowly"  # 50 ms per frame, 100 frames
VIDEOS = 10  # more than are over before a new worker is ready on a busy machine


def ready(queue: JobQueue) -> int:
    return sum(each.state in ("idle", "busy") for each in list_workers(queue.redis, queue.name))


def is_in_the_middle(queue: JobQueue, pid: int) -> bool:
    """Whether a worker has begun a video, and is far from its end."""
    (info,) = (each for each in list_workers(queue.redis, queue.name) if each.pid == pid)
    found = queue.records.read_all([info.job]) if info.job else []
    return any(record and 10 <= record.progress.frames <= 50 for record in found)


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
    eventually(lambda: is_in_the_middle(queue, old.pid), "the old one to be amid a video")
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
