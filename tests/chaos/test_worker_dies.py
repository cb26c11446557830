"""Workers and model processes that are killed, get stuck or must go, in the middle of a video."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from shoal.model.job import Options, State
from shoal.model.record import TimelineEvent
from shoal.settings import Settings
from tests.chaos.crawling import SHORT_LEASE, let_go
from tests.conftest import SubmitClip
from tests.running import Processes, descendants, eventually, is_over, model_process

CRAWLING = "tests.chaos.crawling:Crawling"
PATIENT = "tests.chaos.patient"  # a worker


def named(events: list[TimelineEvent], name: str) -> list[TimelineEvent]:
    return [event for event in events if event.event == name]


def test_a_video_that_kills_every_model_process_is_given_up(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.worker("tests.fakes:Crashing")
    record = processes.wait_state(job_id, "failed", timeout_s=120)
    assert record.error is not None
    assert record.error.code == "poisonous_video"
    assert "SIGSEGV" in record.error.message
    attempts = processes.queue.records.attempts(job_id)
    assert [a.outcome for a in attempts] == ["failed"] * 3
    assert {a.error.code for a in attempts if a.error} == {"model_process_died"}
    assert {(a.worker, a.host) for a in attempts} == {(record.worker, socket.gethostname())}
    assert "before the crash" in "\n".join(attempts[-1].log)
    other = submit_clip(prompts=("car",), options=Options(max_frames=2))
    assert processes.wait_state(other, "succeeded", "failed").state == State.SUCCEEDED
    assert worker.poll() is None


def test_a_video_that_takes_whole_workers_down_is_given_up(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    """As where the kernel ends a whole container when its memory runs out."""
    processes.api()  # runs the reaper
    bomb, other = submit_clip(prompts=("bomb",)), submit_clip(prompts=("car",))
    worker = processes.worker("tests.fakes:TakingAllDown")
    while processes.queue.records.get(bomb).state != State.FAILED:
        if worker.poll() is not None:
            worker = processes.worker("tests.fakes:TakingAllDown")
        time.sleep(0.1)
    record = processes.queue.records.get(bomb)
    assert (record.attempt, record.losses, record.failures) == (3, 3, 0)
    assert record.error is not None
    assert record.error.code == "poisonous_video"
    attempts = processes.queue.records.attempts(bomb)
    assert [a.outcome for a in attempts] == ["lost"] * 3
    assert all(a.worker in record.error.message for a in attempts)
    good = processes.wait_state(other, "succeeded", "failed")
    assert good.state == State.SUCCEEDED
    assert good.finished_at is not None
    assert record.finished_at is not None
    assert good.finished_at < record.finished_at  # it had its turn before the third attempt


def test_a_kill_of_the_model_process_loses_nothing(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    short = Options(sample_fps=0, max_frames=20)
    ids = [submit_clip(prompts=(f"person {i}",), options=short) for i in range(3)]
    worker = processes.worker("tests.fakes:CrashingOnce")
    for job_id in ids:
        assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED
    failures = [
        event
        for job_id in ids
        for event in named(processes.queue.records.timeline(job_id), "failure")
    ]
    assert [event.detail["code"] for event in failures] == ["model_process_died"]
    assert "SIGKILL" in failures[0].detail["message"]
    assert worker.poll() is None


def test_a_gpu_that_fails_costs_one_attempt_and_the_model_process(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    pytest.importorskip("torch")
    ids = [submit_clip(prompts=(f"person {i}",)) for i in range(2)]
    worker = processes.worker("tests.fakes:GpuFailing")
    for job_id in ids:
        found = processes.wait_state(job_id, "succeeded", "failed", timeout_s=180)  # loads torch
        assert found.state == State.SUCCEEDED
    attempts = [a for job_id in ids for a in processes.queue.records.attempts(job_id)]
    assert len(attempts) == 3
    (error,) = [a.error for a in attempts if a.error]
    assert (error.code, error.transient) == ("gpu_error", True)
    assert error.message == "CUDA error: device-side assert triggered"
    assert "nvidia-smi" in error.hint
    assert "GpuFailing" in error.traceback or "before_frame" in error.traceback
    eventually(lambda: [w.model_loads for w in processes.idle_workers()] == [2], "a second load")
    assert worker.poll() is None


def test_an_idle_model_process_that_is_killed_is_replaced(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    worker = processes.worker()
    eventually(lambda: processes.idle_workers(), "the worker to be idle")
    model_process(worker).kill()
    job_id = submit_clip()
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED


def test_a_killed_worker_is_replaced_by_another(
    processes: Processes, submit_clip: SubmitClip, settings: Settings
) -> None:
    job_id = submit_clip()
    first = processes.worker(CRAWLING, **SHORT_LEASE)
    processes.wait_frames(job_id)
    model = model_process(first)
    first.kill()
    first.wait()
    eventually(lambda: is_over(model), "the model process to die with its parent")
    let_go(settings)
    processes.api()  # runs the reaper
    processes.worker()
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert (record.state, record.failures) == (State.SUCCEEDED, 0)
    outcomes = [a.outcome for a in processes.queue.records.attempts(job_id)]
    assert outcomes == ["lost", "succeeded"]
    # The folder of the dead worker went when the new one came.
    assert len(list(processes.settings.work_dir.iterdir())) == 1


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_must_go_gives_its_job_back(
    processes: Processes, submit_clip: SubmitClip, sig: signal.Signals
) -> None:
    job_id = submit_clip()
    other = submit_clip(prompts=("car",))
    worker = processes.worker(CRAWLING, SHOAL_GRACE_S="60")
    processes.wait_frames(job_id)
    worker.send_signal(sig)
    assert worker.wait(timeout=120) == 0
    record = processes.queue.records.get(job_id)
    assert (record.state, record.preemptions, record.failures) == (State.QUEUED, 1, 0)
    assert processes.queue.rq.get_job_ids() == [job_id, other]
    assert not any(processes.settings.work_dir.iterdir())
    assert not processes.queue.redis.keys("rq:execution:*")


def test_an_idle_worker_goes_at_once(processes: Processes) -> None:
    worker = processes.worker(SHOAL_GRACE_S="300")
    eventually(lambda: processes.idle_workers(), "the worker to be idle")
    worker.terminate()
    assert worker.wait(timeout=120) == 0
    assert not processes.idle_workers()


def test_a_model_process_that_does_not_react_is_killed_at_the_end_of_the_grace(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.start(PATIENT, SHOAL_ENGINE="tests.fakes:Stuck", SHOAL_GRACE_S="1")
    processes.wait_state(job_id, "running")
    eventually(lambda: descendants(worker), "the model process")
    eventually(
        lambda: processes.queue.records.get(job_id).progress.stage == "process", "the video to run"
    )
    worker.terminate()
    assert worker.wait(timeout=120) == 0
    assert processes.queue.records.get(job_id).state == State.QUEUED


def test_a_second_signal_ends_it_at_once(processes: Processes, submit_clip: SubmitClip) -> None:
    job_id = submit_clip()
    worker = processes.worker("tests.fakes:Stuck", SHOAL_GRACE_S="600")
    eventually(
        lambda: processes.queue.records.get(job_id).progress.stage == "process", "the video to run"
    )
    children = descendants(worker)
    worker.terminate()
    eventually(lambda: "stops" in processes.logs(), "the first signal to be handled")
    worker.terminate()
    assert worker.wait(timeout=120) == 128 + signal.SIGTERM
    eventually(lambda: all(is_over(child) for child in children), "the model process to end")


def test_a_video_that_hangs_is_given_to_a_fresh_process(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    processes.worker("tests.fakes:StuckOnce", SHOAL_STALL_S="10")
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert (record.state, record.failures) == (State.SUCCEEDED, 1)
    attempts = processes.queue.records.attempts(job_id)
    assert [a.outcome for a in attempts] == ["failed", "succeeded"]
    assert attempts[0].error is not None
    assert attempts[0].error.code == "model_stalled"


def test_a_worker_ends_after_the_jobs_it_was_started_for(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    ids = [submit_clip(prompts=(name,)) for name in ("person", "car", "dog")]
    worker = processes.worker(SHOAL_MAX_JOBS="2")
    assert worker.wait(timeout=120) == 0
    states = [processes.queue.records.get(job_id).state for job_id in ids]
    assert states == [State.SUCCEEDED, State.SUCCEEDED, State.QUEUED]


def test_a_worker_ends_when_there_has_been_nothing_to_do(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.worker(SHOAL_IDLE_EXIT_S="6")  # it may stand still before it takes the job
    assert worker.wait(timeout=120) == 0
    assert processes.queue.records.get(job_id).state == State.SUCCEEDED


def test_a_worker_that_stood_still_looks_for_a_video_before_it_ends(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    idle_s = 8.0  # it may stand still before the test lets it
    processes.queue.pause()
    worker = processes.worker(SHOAL_IDLE_EXIT_S=str(idle_s))
    eventually(processes.idle_workers, "the worker")
    worker.send_signal(signal.SIGSTOP)
    job_id = submit_clip()
    processes.queue.resume()
    time.sleep(idle_s + 1)
    worker.send_signal(signal.SIGCONT)
    processes.wait_state(job_id, "succeeded")
    assert worker.wait(timeout=120) == 0


def test_a_video_that_takes_too_long_is_stopped(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    processes.worker("tests.fakes:Slow", SHOAL_JOB_TIMEOUT_S="0.5")
    record = processes.wait_state(job_id, "failed", "succeeded")
    assert record.error is not None
    assert record.error.code == "timeout"
    assert record.attempt == 1  # not tried again


def test_a_running_video_is_cancelled(processes: Processes, submit_clip: SubmitClip) -> None:
    job_id = submit_clip()
    worker = processes.worker(CRAWLING)
    processes.wait_frames(job_id)
    pid = model_process(worker).pid
    processes.queue.cancel(job_id)
    processes.wait_state(job_id, "cancelled")
    after = submit_clip(prompts=("car",), options=Options(max_frames=3))
    processes.wait_state(after, "succeeded")
    assert model_process(worker).pid == pid  # the model stayed loaded


def test_an_unexpected_exception_fails_the_job_and_not_the_worker(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.worker("tests.fakes:Raising")
    record = processes.wait_state(job_id, "failed")
    assert record.error is not None
    assert record.error.code == "internal_error"
    assert "ZeroDivisionError" in record.error.traceback
    after = submit_clip(prompts=("car",), options=Options(max_frames=2))
    processes.wait_state(after, "succeeded")
    assert worker.poll() is None


def test_a_model_that_cannot_be_loaded_takes_no_job(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.worker("tests.fakes:Unloadable")
    assert worker.wait(timeout=120) == 1
    assert "the weights are not there" in processes.logs()
    record = processes.queue.records.get(job_id)
    assert (record.state, record.attempt) == (State.QUEUED, 0)
