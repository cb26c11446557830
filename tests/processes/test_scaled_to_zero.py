"""``shoal pool scale 0`` holds for consumers that were on their way when it was said."""

from __future__ import annotations

from shoal.model.job import State
from shoal.queue import scaling
from tests.conftest import SubmitClip
from tests.running import Processes


def test_a_consumer_that_starts_later_takes_no_video(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    queue = processes.queue
    job_id = submit_clip()
    scaling.set_cap(queue.redis, queue.name, 0)
    late = processes.worker(SKYPILOT_MANAGED_JOB_ID="7")
    assert late.wait(timeout=60) == 0
    assert queue.records.get(job_id).state == State.QUEUED
    # One that a user runs by hand is none of the pool's.
    processes.worker(SKYPILOT_MANAGED_JOB_ID="")
    processes.wait_state(job_id, "succeeded")
