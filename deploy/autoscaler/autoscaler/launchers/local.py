"""Workers as processes of this machine: for a workstation, and for tests."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autoscaler.launchers.base import Consumer, ConsumerState, Fleet
from shoal.embedded.service import LogLine, Service

KILL_AFTER_GRACE_S = 5.0


class LocalLauncher:
    """Each consumer is its own machine: there is no pool. They end with the controller."""

    name = "local"

    def __init__(self, *, idle_exit_s: float, grace_s: float, log_line: LogLine) -> None:
        self.grace_s = grace_s
        self._env = {"SHOAL_IDLE_EXIT_S": str(idle_exit_s)}
        self._log_line = log_line
        self._running: dict[str, Service] = {}
        self._failed: set[str] = set()
        self._launched = 0

    def observe(self) -> Fleet:
        for name, worker in list(self._running.items()):
            if worker.exit_code is not None:
                del self._running[name]
                if worker.exit_code:
                    self._failed.add(name)
        count = len(self._running)
        return Fleet(
            machines=count,
            ready=count,
            consumers=tuple(Consumer(name, ConsumerState.RUNNING) for name in self._running),
            failures=frozenset(self._failed),
            pooled=False,
        )

    def launch(self) -> None:
        self._launched += 1
        name = f"worker-{self._launched}"
        command = [sys.executable, "-P", "-m", "worker"]
        worker = Service(name, command, self._env, self._log_line)
        worker.start()
        self._running[name] = worker

    def cancel(self, ids: Sequence[str]) -> int:
        """A process starts at once: none is ever PENDING."""
        return 0

    def close(self) -> None:
        """Have the workers give back their jobs and end."""
        for worker in self._running.values():
            worker.terminate()
        for worker in self._running.values():
            worker.wait(self.grace_s + KILL_AFTER_GRACE_S)
