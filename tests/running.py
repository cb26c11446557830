"""Real processes for the end-to-end tests: an API, workers, and a client to talk to them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from shoal.client import Client
from shoal.model.record import Record
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import list_workers
from shoal.settings import Settings

ROOT = Path(__file__).parent.parent


def eventually(condition: Callable[[], object], what: str, timeout_s: float = 120) -> None:
    """Wait until ``condition`` holds; fail with ``what`` was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        is_last = time.monotonic() >= deadline  # looked at before: this process may stand still
        if condition():
            return
        assert not is_last, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.05)


class Processes:
    """Starts ``python -m api`` and ``python -m worker`` against the test's own Valkey."""

    def __init__(self, settings: Settings, queue: JobQueue, log_dir: Path) -> None:
        self.settings = settings
        self.queue = queue
        self.log_dir = log_dir
        self.running: list[subprocess.Popen[bytes]] = []
        self._clients: list[Client] = []
        self.env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SHOAL_REDIS_URL": settings.redis_url,
            "SHOAL_DATA_DIR": str(settings.data_dir),
            "SHOAL_WORK_DIR": str(settings.work_dir),
            "SHOAL_API_PORT": str(settings.api_port),
            "SHOAL_BEAT_S": str(settings.beat_s),
            "SHOAL_LEASE_S": str(settings.lease_s),
            "SHOAL_GRACE_S": str(settings.grace_s),
            "SHOAL_RETRY_PAUSES_S": ",".join(map(str, settings.retry_pauses_s)),
            "SHOAL_MODEL_ENV": "SHOAL_STEPS,SHOAL_CHAOS_SLOT",  # engines of the tests
        }

    def start(self, module: str, **env: str) -> subprocess.Popen[bytes]:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        path = self.log_dir / f"{module}-{len(self.running)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module], env={**self.env, **env}, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    def api(self) -> Client:
        self.start("api")
        client = Client(f"http://127.0.0.1:{self.settings.api_port}")
        self._clients.append(client)
        eventually(lambda: is_ready(client), "the API to answer")
        return client

    def worker(self, engine: str = "tests.fakes:Fake", **env: str) -> subprocess.Popen[bytes]:
        return self.start("worker", SHOAL_ENGINE=engine, **env)

    def idle_workers(self) -> list[WorkerInfo]:
        found = list_workers(self.queue.redis, self.queue.name)
        return [worker for worker in found if worker.state == "idle"]

    def wait_state(self, job_id: str, *states: str, timeout_s: float = 120) -> Record:
        eventually(
            lambda: self.queue.records.get(job_id).state in states,
            f"job to be {' or '.join(states)}",
            timeout_s,
        )
        return self.queue.records.get(job_id)

    def wait_frames(self, job_id: str, frames: int = 1) -> Record:
        """Until the running attempt has written some frames."""
        eventually(
            lambda: self.queue.records.get(job_id).progress.frames >= frames, "the first frames"
        )
        return self.queue.records.get(job_id)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.log_dir.glob("*.log")))

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        children = [child for process in self.running for child in descendants(process)]
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()
        eventually(lambda: all(is_over(child) for child in children), "their children to end")


def is_over(process: psutil.Process) -> bool:
    """Whether it has ended, also where init takes its time to collect it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_ready(client: Client) -> bool:
    try:
        client.queue()
    except Exception:
        return False
    return True


def descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def model_process(worker: subprocess.Popen[bytes]) -> psutil.Process:
    """The worker's one child; it may have some of its own for a moment."""
    (child,) = psutil.Process(worker.pid).children()
    return child


@contextmanager
def held(worker: subprocess.Popen[bytes]) -> Iterator[None]:
    """Its model process stands still, and so does its video."""
    process = model_process(worker)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def sam3_environment(folder: Path) -> dict[str, str]:
    """What makes a worker load SAM3 from a small checkpoint, with any build of torch."""
    from tests.sam3 import tiny  # takes seconds to load

    return {
        "SHOAL_SAM3_WEIGHTS": str(tiny.save_checkpoint(folder)),
        "PYTHONPATH": f"{ROOT / 'tests/sam3/site'}:{ROOT}",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def started(settings: Settings, queue: JobQueue, log_dir: Path) -> Iterator[Processes]:
    processes = Processes(settings, queue, log_dir)
    try:
        yield processes
    finally:
        processes.stop()
