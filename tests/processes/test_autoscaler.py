"""The controller as a process, with the local launcher: real workers come, work and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from shoal.model.job import State
from shoal.model.scaling import ScalingStatus
from shoal.queue import scaling
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers
from tests.processes.gate import Gate
from tests.running import ROOT, Processes, descendants, eventually


@contextmanager
def autoscaler(processes: Processes, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that starts at most two workers."""
    given = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'deploy' / 'autoscaler'}",
        "SHOAL_ENGINE": "tests.fakes:Fake",
        "SHOAL_SCALE_CAP": "2",
        "SHOAL_SCALE_TICK_S": "0.2",
        "SHOAL_SCALE_IDLE_EXIT_S": "2",
    }
    command = [sys.executable, "-m", "autoscaler", "run", "--launcher", "local"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=processes.env | given | env, stdout=out, stderr=out)
    try:
        yield process
    finally:
        workers = descendants(process)
        process.kill()
        process.wait()
        for worker in workers:  # they outlive it
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=60)


def test_workers_appear_work_and_go(
    processes: Processes,
    queue: JobQueue,
    submit_clip: Callable[..., str],
    gate: Gate,
    tmp_path: Path,
) -> None:
    log = tmp_path / "autoscaler.log"
    gated = {"SHOAL_ENGINE": "tests.processes.gate:Gated", **gate.env}
    with autoscaler(processes, log, **gated) as controller:
        eventually(lambda: scaling.read(queue.redis, queue.name).status, "a first look")
        assert list_workers(queue.redis, queue.name) == []
        ids = [submit_clip(prompts=(word,)) for word in ("a", "b", "c", "d", "e", "f")]
        eventually(lambda: len(list_workers(queue.redis, queue.name)) == 2, "two workers")
        gate.open()  # not before: the first one would be done with all, and gone
        for job_id in ids:
            processes.wait_state(job_id, "succeeded")
        eventually(lambda: not descendants(controller), "the workers to go")
        assert list_workers(queue.redis, queue.name) == []
        assert {queue.records.get(job_id).attempt for job_id in ids} == {1}
        actions = [d.action for d in scaling.read(queue.redis, queue.name).decisions]
        assert actions[-2:] == ["grow", "idle"]  # the oldest
        controller.send_signal(signal.SIGTERM)
        assert controller.wait(120) == 0
    assert "grow (launched" in log.read_text()


def test_a_second_signal_ends_it_at_once() -> None:
    code = "import time; from autoscaler.service import stop_on_signal; stop_on_signal()\n"
    code += "print(flush=True)\nwhile True: time.sleep(1)  # a call of a cloud that hangs"
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'deploy' / 'autoscaler'}"}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    assert process.stdout
    try:
        process.stdout.readline()

        def ends() -> bool:
            process.terminate()  # time and again: two signals at a time may count as one
            return process.poll() is not None

        eventually(ends, "its end")
        assert process.returncode == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


def test_a_controller_that_ends_takes_its_workers_along(
    processes: Processes,
    queue: JobQueue,
    submit_clip: Callable[..., str],
    long_clip: Path,
    tmp_path: Path,
) -> None:
    slow = {"SHOAL_ENGINE": "tests.fakes:Slow"}
    with autoscaler(processes, tmp_path / "autoscaler.log", **slow) as controller:
        job_id = submit_clip(path=long_clip)
        processes.wait_frames(job_id)
        workers = descendants(controller)
        controller.send_signal(signal.SIGTERM)
        assert controller.wait(120) == 0
        assert psutil.wait_procs(workers, timeout=60)[1] == []
    record = queue.records.get(job_id)
    assert (record.state, record.failures) == (State.QUEUED, 0)


def test_scaled_to_zero_its_workers_drain(
    processes: Processes,
    queue: JobQueue,
    submit_clip: Callable[..., str],
    long_clip: Path,
    tmp_path: Path,
) -> None:
    slow = {"SHOAL_ENGINE": "tests.fakes:Slow", "SHOAL_SCALE_CAP": "1"}
    with autoscaler(processes, tmp_path / "autoscaler.log", **slow):
        processes.wait_frames(submit_clip(path=long_clip))
        scaling.set_cap(queue.redis, queue.name, 0)
        eventually(
            lambda: [worker.draining for worker in list_workers(queue.redis, queue.name)] == [True],
            "the worker to drain",
        )


def test_a_worker_waits_for_jobs_from_when_its_model_is_loaded(
    processes: Processes, submit_clip: Callable[..., str]
) -> None:
    """One that counted from its start would end before its first job, and so would the next."""
    job_id = submit_clip()
    worker = processes.worker("tests.fakes:LoadsForAWhile", SHOAL_IDLE_EXIT_S="1")
    processes.wait_state(job_id, "succeeded")
    assert worker.wait(timeout=60) == 0


def test_the_workers_of_a_leader_that_is_killed_go_on_and_are_adopted(
    processes: Processes,
    queue: JobQueue,
    submit_clip: Callable[..., str],
    long_clip: Path,
    tmp_path: Path,
) -> None:
    slow = {"SHOAL_ENGINE": "tests.fakes:Slow", "SHOAL_SCALE_CAP": "1"}
    with (
        autoscaler(processes, tmp_path / "first.log", **slow) as first,
        autoscaler(processes, tmp_path / "second.log", **slow) as second,
    ):
        job_id = submit_clip(path=long_clip)
        processes.wait_frames(job_id)
        leader, other = (first, second) if descendants(first) else (second, first)
        workers = descendants(leader)
        leader.kill()
        leader.wait()
        ttl = queue.redis.pttl(scaling.leader_key(queue.name))
        assert 0 < ttl <= 30_000
        queue.redis.delete(scaling.leader_key(queue.name))  # as it lapses by then
        name = f"-{other.pid}"
        eventually(lambda: _status(queue).leader.endswith(name), "the other one to lead")
        assert _status(queue).machines == 1
        assert all(worker.is_running() for worker in workers)
        assert descendants(other) == []
        other.send_signal(signal.SIGTERM)
        assert other.wait(120) == 0
        assert psutil.wait_procs(workers, timeout=60)[1] == []
    record = queue.records.get(job_id)
    assert (record.state, record.attempt, record.losses) == (State.QUEUED, 1, 0)


def _status(queue: JobQueue) -> ScalingStatus:
    status = scaling.read(queue.redis, queue.name).status
    assert status
    return status
