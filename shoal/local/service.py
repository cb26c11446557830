"""A child process of ``shoal up`` and where its log lines go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

LogLine = Callable[[str, str], None]  # service name, line


class Service:
    """One process that is started, watched, restarted and stopped.

    It ends with this process, even when that is killed. It is in a session of its own, so that a
    Ctrl-C in the terminal reaches ``shoal up`` alone, which then stops all in the right order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        log: LogLine,
        pass_fds: Sequence[int] = (),
        inherited: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Args:
            env: variables of its own.
            inherited: those that it gets besides; see ``shoal.local.environment``.
        """
        self.name = name
        self.command = [sys.executable, "-m", "shoal.local.process_guard", *command]
        self.env = {**inherited, "PYTHONUNBUFFERED": "1", **env}
        self.log = log
        self.pass_fds = tuple(pass_fds)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    def start(self) -> None:
        """Call it from the main thread: the kernel ties the child's life to the calling thread."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.env,
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._pump, args=(self.process,), daemon=True).start()

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.log(self.name, line.decode(errors="replace").rstrip())

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs."""
        return self.process.poll() if self.process else None

    def terminate(self) -> None:
        if self.process and self.exit_code is None:
            self.process.terminate()

    def kill(self) -> None:
        if self.process and self.exit_code is None:
            self.process.kill()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; when the time is over, end it."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.log(self.name, f"did not stop within {timeout_s:.0f} s: killed")
            self.process.kill()
            self.process.wait()
