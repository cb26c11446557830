"""After SIGTERM the worker is gone within its grace, whatever call hangs."""

from __future__ import annotations

import signal

import pytest

from shoal.model.job import Options, State
from shoal.model.record import now
from shoal.queue.workers import list_workers
from tests.conftest import SubmitClip
from tests.running import Processes, eventually, is_over, model_process

BEATS_S = 3.0  # of the time that the call hangs
SLACK_S = 60.0  # of a busy machine; the calls hang for longer by far


# One that only waits for the storage ends in order: its grace is no matter of a pause.
@pytest.mark.parametrize(
    ("hangs", "grace_s"), [("storage", 30.0), ("redis", 2.0), ("the end", 2.0)]
)
def test_no_call_outlasts_the_grace(
    processes: Processes, submit_clip: SubmitClip, hangs: str, grace_s: float
) -> None:
    job_id = submit_clip(options=Options(max_frames=2))
    worker = processes.start(
        "tests.hanging_worker",
        SHOAL_ENGINE="tests.fakes:Fake",
        SHOAL_HANGS=hangs,
        SHOAL_GRACE_S=str(grace_s),
    )
    if hangs == "the end":
        processes.wait_state(job_id, "succeeded")
    else:
        eventually(lambda: "hangs now" in processes.logs(), "the call")
    model = model_process(worker)
    worker.terminate()
    worker.wait(timeout=grace_s + SLACK_S)
    eventually(lambda: is_over(model), "the model process to end with it")
    assert worker.returncode == (0 if hangs == "storage" else 128 + signal.SIGTERM)


def test_a_slow_end_of_python_is_not_a_death(processes: Processes) -> None:
    """Python takes until after the end of the grace, if that is still waited for."""
    worker = processes.start(
        "tests.hanging_worker",
        SHOAL_ENGINE="tests.fakes:Fake",
        SHOAL_HANGS="exit",
        SHOAL_GRACE_S="20",
    )
    eventually(lambda: "model ready" in processes.logs(), "the model")
    worker.terminate()
    assert worker.wait(timeout=120) == 0


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
    since = now()

    def beats() -> bool:
        found = list_workers(processes.queue.redis, processes.queue.name)
        return any(worker.beat_at > since + BEATS_S for worker in found)

    eventually(beats, "heartbeats while the call hangs")
    second = submit_clip(prompts=("car",), options=Options(max_frames=2))
    assert processes.wait_state(second, "succeeded").state == State.SUCCEEDED
    assert processes.queue.redis.zcard(processes.queue.cleanup.key) == 2
