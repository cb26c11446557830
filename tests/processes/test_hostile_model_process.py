"""A model process that was taken over, or that a video has blown up, costs an attempt: its parent
names what it did, and serves the next video."""

from __future__ import annotations

import pytest

from shoal.model.job import State
from tests.conftest import SubmitClip
from tests.running import Processes


@pytest.mark.parametrize(
    ("lie", "cause"),
    [
        ("nonsense", "Invalid JSON"),
        ('{"kind":"ready","engine":"x","device":"y"}', "'ready' out of order"),
        ("!AAAA", "1094795585 bytes"),
    ],
)
def test_what_is_no_message_costs_one_attempt(
    processes: Processes, submit_clip: SubmitClip, lie: str, cause: str
) -> None:
    job_id = submit_clip(prompts=(lie,))
    worker = processes.worker("tests.fakes:LyingOnce")
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert (record.state, record.failures, record.model_deaths) == (State.SUCCEEDED, 1, 1)
    first = processes.queue.records.attempts(job_id)[0]
    assert first.error is not None
    assert first.error.code == "model_process_died"
    assert cause in first.error.message
    assert worker.poll() is None


def test_a_message_that_never_comes_to_its_end_does_not_keep_the_parent(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    """The lease is renewed meanwhile, and the stall is seen."""
    job_id = submit_clip(prompts=("?{}",))
    worker = processes.worker("tests.fakes:LyingOnce", SHOAL_STALL_S="4")
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert (record.state, record.losses) == (State.SUCCEEDED, 0)
    first = processes.queue.records.attempts(job_id)[0]
    assert first.error is not None
    assert first.error.code == "model_stalled"
    assert worker.poll() is None


def test_a_video_that_needs_more_memory_than_it_may_have_costs_a_model_process(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.worker("tests.fakes:HoggingOnce", SHOAL_MAX_MEMORY="600MiB")
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert (record.state, record.failures, record.model_deaths) == (State.SUCCEEDED, 1, 1)
    first = processes.queue.records.attempts(job_id)[0]
    assert first.error is not None
    assert first.error.code == "out_of_memory"
    assert "its limit is 0.59 GiB" in first.error.message
    assert "SHOAL_MAX_MEMORY" in first.error.hint
    assert worker.poll() is None


def test_a_model_that_does_not_fit_names_the_setting(processes: Processes) -> None:
    worker = processes.worker(SHOAL_MAX_MEMORY="1MiB")
    assert worker.wait(timeout=180) == 1
    assert "SHOAL_MAX_MEMORY" in processes.logs()
