"""A Shoal of real processes to strike at: Valkey, the API with its reaper, and two workers."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from shoal.local.valkey import Valkey
from shoal.model.job import JobSpec, Options
from shoal.queue.connection import connect
from shoal.queue.queue import open_queue
from shoal.queue.workers import list_workers
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.chaos.barrier import BOOKS, SLOT
from tests.ports import free_port
from tests.running import Processes, descendants, eventually

ENGINE = "tests.chaos.engine:Engine"
WAIT_S = 120.0  # for anything; a machine may be slow, and nothing here depends on its speed
PART_S = 0.1
GRACE_S = 3.0


@dataclass
class Worker:
    """A worker of the stack, and the model process that it had when it was last idle."""

    slot: Path
    process: subprocess.Popen[bytes]
    log: Path
    model: psutil.Process | None = None

    @property
    def parent(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def let_go(self) -> None:
        (self.slot / "held").unlink(missing_ok=True)
        (self.slot / "go").touch()

    def hold(self) -> None:
        """Have it take no more jobs. It may still be at one."""
        (self.slot / "go").unlink(missing_ok=True)
        (self.slot / "held").unlink(missing_ok=True)

    @property
    def is_held(self) -> bool:
        return (self.slot / "held").exists()


class Stack:
    """Everything below ``folder``; storage is ``folder/bucket``."""

    def __init__(
        self, folder: Path, clip: Path, *, lease_s: float = 2, books_s: float | None = None
    ) -> None:
        """
        Args:
            books_s: in place of ``parent.BOOKS_S``, where a busy machine may stand still for long.
        """
        self.folder = folder
        self.clip = clip
        self.bucket = folder / "bucket"
        self.videos = self.bucket / "videos"
        self.videos.mkdir(parents=True)
        self.steps = folder / "steps"
        self._valkey = Valkey(folder / "valkey", free_port())
        self._server: subprocess.Popen[bytes] | None = None
        self.settings = Settings(
            redis_url=self._valkey.url,
            data_dir=self.bucket,
            work_dir=folder / "work",
            beat_s=0.4,
            lease_s=lease_s,
            grace_s=GRACE_S,
            retry_pauses_s=(0.2,),
            api_port=free_port(),
        )
        self.start_valkey()
        self.queue = open_queue(self.settings, connect(self.settings))
        self.processes = Processes(self.settings, self.queue, folder / "logs")
        self.processes.env |= {"SHOAL_PART_S": str(PART_S)}
        if books_s is not None:
            self.processes.env[BOOKS] = str(books_s)
        self.processes.start("api")
        self._slots = 0
        self.workers = [self.start_worker(), self.start_worker()]

    # --- Valkey ----------------------------------------------------------------------------------

    def start_valkey(self) -> None:
        self._server = subprocess.Popen(self._valkey.command(), stdout=subprocess.DEVNULL)
        self._valkey.wait_ready(self._server, WAIT_S).close()

    def kill_valkey(self) -> None:
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    # --- workers ---------------------------------------------------------------------------------

    def start_worker(self) -> Worker:
        self._slots += 1
        slot = self.folder / f"slot-{self._slots}"
        slot.mkdir()
        number = len(self.processes.running)
        process = self.processes.start(
            "tests.chaos.worker", SHOAL_ENGINE=ENGINE, **{SLOT: str(slot)}
        )
        log = self.processes.log_dir / f"tests.chaos.worker-{number}.log"
        return Worker(slot, process, log)

    def replace_dead(self) -> None:
        """Start a worker for each that is gone, as a cloud does."""
        for place, worker in enumerate(self.workers):
            if not worker.alive:
                self.workers[place] = self.start_worker()

    def wait_all_held(self) -> None:
        """Until both workers have a model and wait for nothing but to be let go."""
        for worker in self.workers:
            worker.hold()
        eventually(self._all_held, "two workers to be ready", WAIT_S)
        for worker in self.workers:
            (worker.model,) = descendants(worker.process)

    def _all_held(self) -> bool:
        self.replace_dead()
        return all(worker.is_held for worker in self.workers)

    # --- videos ----------------------------------------------------------------------------------

    def submit(self, name: str, **options: Any) -> JobSpec:
        """Queue a video of this name; all have the same pictures."""
        path = self.videos / f"{name}.mp4"
        os.link(self.clip, path)
        info = storage_for(path.as_uri(), self.settings).stat(path.as_uri())
        spec = JobSpec(
            uri=info.uri,
            version=info.version,
            size=info.size,
            prompts=("person", "ball"),
            options=Options(**{"sample_fps": 0} | options),
            results=f"{self.settings.results_root}/{name}",
        )
        self.queue.submit(spec)
        self.wait_durable()
        return spec

    def wait_durable(self) -> None:
        """Until Valkey has on disk what this connection wrote."""
        self.queue.redis.waitaof(1, 0, int(WAIT_S * 1000))

    def is_quiet(self) -> bool:
        """Whether no worker shows a job."""
        workers = list_workers(self.queue.redis, self.queue.name)
        return all(not worker.job for worker in workers)

    def stop(self) -> None:
        """
        Raises:
            AssertionError: a process is left over.
        """
        started = [psutil.Process(p.pid) for p in self.processes.running if p.poll() is None]
        family = [child for each in started for child in each.children(recursive=True)]
        self.processes.stop()
        self.queue.redis.close()
        self.kill_valkey()
        left = psutil.wait_procs([*started, *family], timeout=WAIT_S)[1]
        assert not left, f"processes are left: {left}"
