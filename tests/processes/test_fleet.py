"""``shoal worker --gpus``: several workers under one command."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers
from tests.conftest import SHOAL, SubmitClip
from tests.processes.gate import Gate
from tests.running import Processes, eventually

START_S = 180  # of four workers with their models, on a busy machine


@contextmanager
def fleet(
    processes: Processes, *options: str, engine: str = "tests.fakes:Slow", **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    env = {**processes.env, **env, "SHOAL_ENGINE": engine}
    processes.log_dir.mkdir(parents=True, exist_ok=True)
    with (processes.log_dir / "fleet.log").open("wb") as log:
        command = [*SHOAL, "worker", "--gpus", "0,1", *options]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    processes.running.append(process)
    yield process


def workers(queue: JobQueue, *states: str) -> list[WorkerInfo]:
    found = list_workers(queue.redis, queue.name)
    return [worker for worker in found if not states or worker.state in states]


def gpu_of(worker: WorkerInfo) -> str:
    return Path(f"/proc/{worker.pid}/environ").read_text().partition("CUDA_VISIBLE_DEVICES=")[2][0]


def test_each_gpu_has_its_workers_and_a_dead_one_is_replaced(
    processes: Processes, queue: JobQueue
) -> None:
    with fleet(processes, "--per-gpu", "2") as process:
        eventually(lambda: len(workers(queue, "idle")) == 4, "four workers", START_S)
        before = workers(queue)
        assert sorted(gpu_of(worker) for worker in before) == ["0", "0", "1", "1"]
        os.kill(before[0].pid, signal.SIGKILL)
        eventually(
            lambda: len({w.pid for w in workers(queue, "idle")} - {w.pid for w in before}) == 1,
            "the dead one to be replaced",
            START_S,
        )
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(timeout=120) == 0
        assert not psutil.wait_procs(children, timeout=60)[1]


def test_a_signal_gives_all_jobs_back(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, long_clip: Path
) -> None:
    ids = [submit_clip(prompts=(name,), path=long_clip) for name in ("person", "car")]
    with fleet(processes) as process:
        for job_id in ids:
            processes.wait_frames(job_id)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0
    assert [queue.records.get(job_id).preemptions for job_id in ids] == [1, 1]


def test_a_drained_fleet_has_finished_its_videos(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, gate: Gate
) -> None:
    ids = [submit_clip(prompts=(name,)) for name in ("person", "car", "dog")]
    gated = "tests.processes.gate:Gated"
    with fleet(processes, "--drain", engine=gated, **gate.env) as process:
        for job_id in ids[:2]:
            processes.wait_frames(job_id)
        process.terminate()
        eventually(lambda: all(w.draining for w in workers(queue)), "both to drain")
        gate.open()
        assert process.wait(timeout=120) == 0
    states = [queue.records.get(job_id).state for job_id in ids]
    assert states == ["succeeded", "succeeded", "queued"]


def test_it_ends_when_its_workers_have(processes: Processes, queue: JobQueue) -> None:
    with fleet(processes, "--idle-exit", "1") as process:
        assert process.wait(timeout=120) == 0
    assert not workers(queue)


def test_all_gpus_of_a_machine_without_one(processes: Processes) -> None:
    env = {**processes.env, "PATH": "/nonexistent"}
    command = [*SHOAL, "worker", "--gpus", "all"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no NVIDIA GPU was found" in done.stderr
