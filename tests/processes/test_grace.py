"""After SIGTERM the worker is gone within its grace, whatever call hangs."""

from __future__ import annotations

import signal
import time

import pytest

from shoal.model.job import Options, State
from tests.conftest import SubmitClip
from tests.running import Processes, eventually, is_over, model_process

GRACE_S = 2.0
SLACK_S = 4.0  # of a busy machine


@pytest.mark.parametrize("hangs", ["storage", "redis", "the end"])
def test_no_call_outlasts_the_grace(
    processes: Processes, submit_clip: SubmitClip, hangs: str
) -> None:
    job_id = submit_clip(options=Options(max_frames=2))
    worker = processes.start(
        "tests.hanging_worker",
        SHOAL_ENGINE="tests.fakes:Fake",
        SHOAL_HANGS=hangs,
        SHOAL_GRACE_S=str(GRACE_S),
    )
    if hangs == "the end":
        processes.wait_state(job_id, "succeeded")
    else:
        eventually(lambda: "hangs now" in processes.logs(), "the call")
    model = model_process(worker)
    at = time.monotonic()
    worker.terminate()
    worker.wait(timeout=60)
    assert time.monotonic() - at < GRACE_S + SLACK_S
    eventually(lambda: is_over(model), "the model process to end with it")
    assert worker.returncode == (0 if hangs == "storage" else 128 + signal.SIGTERM)


def test_a_slow_end_of_python_is_not_a_death(processes: Processes) -> None:
    worker = processes.start(
        "tests.hanging_worker",
        SHOAL_ENGINE="tests.fakes:Fake",
        SHOAL_HANGS="exit",
        SHOAL_GRACE_S="1",
    )
    eventually(lambda: "model ready" in processes.logs(), "the model")
    worker.terminate()
    assert worker.wait(timeout=60) == 0


def test_a_storage_that_hangs_stops_neither_heartbeats_nor_the_next_video(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    """And what it did not remove is still to be removed."""
    first = submit_clip(options=Options(max_frames=2))
    processes.start(
        "tests.hanging_worker", SHOAL_ENGINE="tests.fakes:Fake", SHOAL_HANGS="storage",
    )  # fmt: skip
    processes.wait_state(first, "succeeded")
    eventually(lambda: "hangs now" in processes.logs(), "the call")
    time.sleep(processes.settings.lease_s)
    assert processes.queue.redis.keys("shoal:worker:*"), "it beats"
    second = submit_clip(prompts=("car",), options=Options(max_frames=2))
    assert processes.wait_state(second, "succeeded").state == State.SUCCEEDED
    assert processes.queue.redis.zcard(processes.queue.cleanup.key) == 2
