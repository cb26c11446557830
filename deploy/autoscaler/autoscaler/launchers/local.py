"""Workers as processes of this machine: for a workstation, and for tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from autoscaler.launchers.base import Consumer, ConsumerState, Fleet
from shoal.errors import DeploymentError

KILL_AFTER_GRACE_S = 5.0
CHECKOUT_ENV = ".venv"  # created by 'make dev'
TURN_S = 0.05


class LocalLauncher:
    """Each consumer is its own machine: there is no pool.

    A worker outlives a controller that is killed, and the next leader on this machine has it then:
    each holds the lock of a file with its process id. They end in order with their controller.
    """

    name = "local"

    def __init__(
        self, command: Sequence[str], folder: Path, *, idle_exit_s: float, grace_s: float
    ) -> None:
        """
        Args:
            command: starts a worker.
            folder: of the files of workers, the same for all controllers of a queue.
        """
        self.grace_s = grace_s
        self._command = tuple(command)
        self._folder = folder
        self._env = {"SHOAL_IDLE_EXIT_S": str(idle_exit_s)}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._failed: dict[str, str] = {}

    def observe(self) -> Fleet:
        alive = self._alive()
        for name, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[name]
                if child.returncode:
                    self._failed[name] = f"exit code {child.returncode}"
        return Fleet(
            machines=len(alive),
            ready=len(alive),
            consumers=tuple(
                Consumer(name, ConsumerState.RUNNING, worker=_worker_names(pid))
                for name, pid in sorted(alive.items())
            ),
            failures=dict(self._failed),
            pooled=False,
        )

    def launch(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"worker-{uuid.uuid4().hex[:8]}"
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            child = subprocess.Popen(
                self._command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._env},
                pass_fds=[file.fileno()],  # it has the lock from now on, for as long as it lives
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            file.write(str(child.pid))
        self._children[path.name] = child

    def cancel(self, ids: Sequence[str]) -> int:
        """A process starts at once: none is ever PENDING."""
        return 0

    def close(self) -> None:
        """Have the workers give back their jobs and end."""
        self._signal(signal.SIGTERM)
        if not self._wait(lambda: not self._alive(), self.grace_s + KILL_AFTER_GRACE_S):
            self._signal(signal.SIGKILL)
        for child in self._children.values():
            child.wait()

    def _signal(self, sig: signal.Signals) -> None:
        for pid in self._alive().values():
            with suppress(ProcessLookupError):  # it ended in this moment
                os.kill(pid, sig)

    @staticmethod
    def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(TURN_S)
        return True

    def _alive(self) -> dict[str, int]:
        """Names and process ids of the workers; the files of others are removed."""
        found = {}
        for path in self._folder.glob("worker-*"):
            with _unlocked(path) as is_free:
                if is_free:
                    path.unlink()
                elif pid := path.read_text():
                    found[path.name] = int(pid)
        return found


@contextmanager
def _unlocked(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock of a file."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _worker_names(pid: int) -> str:
    """See ``shoal.queue.workers.unique_name``."""
    return f"{socket.gethostname()}-{pid}-"


def worker_command(program: str = "") -> list[str]:
    """How to start a worker, which usually has an environment of its own.

    Args:
        program: the ``shoal`` of that environment; empty: this environment if it has a worker, else
            the first other ``shoal`` on the PATH, else that of a checkout.

    Raises:
        DeploymentError: there is none.
    """
    if not program and find_spec("av") and find_spec("worker"):
        return [sys.executable, "-P", "-m", "worker"]
    own = Path(sys.executable).parent
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    others = os.pathsep.join(folder for folder in path if folder and Path(folder) != own)
    checkout = Path(__file__).parents[4] / CHECKOUT_ENV / "bin" / "shoal"
    candidates = [program] if program else ["shoal", str(checkout)]
    for candidate in candidates:
        if found := shutil.which(candidate, path=others):
            return [found, "worker"]
    raise DeploymentError(
        f"{program} is no program" if program else "no worker is installed on this machine",
        hint="Run pip install '.[worker]' in a checkout, and set SHOAL_SCALE_WORKER to the "
        "'shoal' of that environment.",
    )
