"""Several workers on one machine: each a process, restarted when it fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType

from shoal.errors import StackError
from shoal.local.environment import for_worker
from shoal.local.memory import ceiling
from shoal.local.service import LogLine, Service

RESTART_S = (1, 2, 5, 10, 30)  # pauses before a worker that failed is started again
STEADY_S = 60.0  # a worker that ran this long starts over with the shortest pause
KILL_AFTER_GRACE_S = 5.0
TURN_S = 0.2


class LocalFleet:
    """Starts workers, starts those again that fail, and stops them together."""

    def __init__(self, log_line: LogLine, size: int = 1, max_memory: int = 0) -> None:
        """
        Args:
            size: how many workers there will be: the machine's memory is shared among them.
            max_memory: bytes that the model process of each may hold; 0: its share.
        """
        self.workers: list[Service] = []
        self._log_line = log_line
        self._max_memory = max_memory or ceiling(max(1, size))
        self._failures: dict[str, int] = {}  # in a row
        self._restart_at: dict[str, float] = {}

    def start(self, name: str, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-P", "-m", "worker"]
        env = {"SHOAL_MAX_MEMORY": str(self._max_memory), **env}
        worker = Service(name, command, env, self._log_line, inherited=for_worker(os.environ))
        worker.start()
        self.workers.append(worker)

    def revive(self) -> None:
        """Start failed workers again, after a pause; one that ended in order stays down."""
        for worker in self.workers:
            if worker.exit_code:
                self._revive(worker, worker.exit_code)

    def _revive(self, worker: Service, exit_code: int) -> None:
        at = time.monotonic()
        if worker.name not in self._restart_at:
            steady = at - worker.started_at > STEADY_S
            failures = 0 if steady else self._failures.get(worker.name, 0)
            pause = RESTART_S[min(failures, len(RESTART_S) - 1)]
            self._failures[worker.name] = failures + 1
            self._restart_at[worker.name] = at + pause
            self._log_line(worker.name, f"ended with exit code {exit_code}: again in {pause} s")
        elif at >= self._restart_at[worker.name]:
            del self._restart_at[worker.name]
            worker.start()

    @property
    def is_over(self) -> bool:
        """Whether every worker has ended in order, as with SHOAL_MAX_JOBS or SHOAL_IDLE_EXIT_S."""
        return all(worker.exit_code == 0 for worker in self.workers)

    @property
    def has_failed(self) -> bool:
        """Whether every worker there is has ended with an error."""
        return bool(self.workers) and all(worker.exit_code for worker in self.workers)

    def run(self, grace_s: float, *, drain: bool = False) -> None:
        """Keep them up until SIGINT or SIGTERM (a second one kills), or until all have ended.

        Args:
            drain: one signal more: a first one has them finish their videos, however long it takes.
        """

        def on_signal(signum: int, frame: FrameType | None) -> None:
            signals.append(signum)
            if len(signals) > 1 + drain:
                self.kill()

        signals: list[int] = []
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, on_signal)
        while not signals and not self.is_over:
            self.revive()
            time.sleep(TURN_S)
        if drain:
            self._terminate()
            while len(signals) < 2 and any(worker.exit_code is None for worker in self.workers):
                time.sleep(TURN_S)
        self.stop(grace_s)

    def stop(self, grace_s: float) -> None:
        """Have the workers give back their jobs and end; kill those that are too slow."""
        self._terminate()
        for worker in self.workers:
            worker.wait(grace_s + KILL_AFTER_GRACE_S)

    def _terminate(self) -> None:
        for worker in self.workers:
            worker.terminate()

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait(KILL_AFTER_GRACE_S)


def find_gpus() -> list[str]:
    """The indices of this machine's NVIDIA GPUs, as ``nvidia-smi`` lists them.

    Raises:
        StackError: there is none.
    """
    found: list[str] = []
    if program := shutil.which("nvidia-smi"):
        command = [program, "--query-gpu=index", "--format=csv,noheader"]
        listing = subprocess.run(command, capture_output=True, text=True, check=False)
        found = listing.stdout.split() if listing.returncode == 0 else []
    if not found:
        raise StackError(
            "no NVIDIA GPU was found on this machine",
            hint="Check that 'nvidia-smi' lists it, or omit --gpus to use the CPU.",
        )
    return found
