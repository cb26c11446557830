"""The parent's handle on its model process: start, talk, notice its death, end it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from shoal.errors import ModelProcessDied, OutOfMemory
from worker.link import FromModel, FromParent, Link
from worker.oom import oom_kills

log = logging.getLogger(__name__)

LOG_LINES = 200  # of the model process's log that a failure record keeps
LOG_LINE_CHARS = 500


class ModelProcess:
    """One child process that holds the model; ``loads`` counts how often it was started."""

    def __init__(self, oom_kills: Callable[[], int | None] = oom_kills) -> None:
        """
        Args:
            oom_kills: how often the kernel ran out of memory here; ``None`` if it does not tell.
        """
        self.loads = 0
        self._oom_kills = oom_kills
        self._oom_kills_before = 0  # the current process was started
        self.log_tail: deque[str] = deque(maxlen=LOG_LINES)
        self._started_at = -float("inf")
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        # Signals interrupt a wait: the handler's write to this pipe makes it readable.
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """Write its log to ours, and remember the end of it."""
        assert process.stdout is not None
        for line in process.stdout:
            self.log_tail.append(line.decode(errors="replace").rstrip()[:LOG_LINE_CHARS])
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()

    @property
    def alive(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            log.error("%s, without a job", self._end())
        return self._process is not None

    @property
    def age_s(self) -> float:
        """Seconds since the last one was started; infinite before the first."""
        return time.monotonic() - self._started_at

    def start(self) -> None:
        """Start a fresh one. It sends ``Ready``, or ``Failed``, when its model is loaded."""
        self.kill()
        ours, theirs = Pipe()
        fd = theirs.fileno()
        # A session of its own: a Ctrl-C in the terminal is the parent's to handle.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "worker.model_process", str(fd)],
            pass_fds=[fd],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._pump = threading.Thread(target=self._pass_on, args=(self._process,), daemon=True)
        self._pump.start()
        theirs.close()
        self._link = Link(ours)
        self.loads += 1
        self._started_at = time.monotonic()
        self._oom_kills_before = self._oom_kills() or 0
        log.info("model process %d started", self._process.pid)

    def send(self, message: FromParent) -> None:
        """Send a message; to a dead process it goes nowhere, and ``wait`` tells."""
        if self._link is None:
            return
        try:
            self._link.send(message)
        except OSError as error:
            log.warning("the model process does not listen: %s", error)

    def wait(self, timeout_s: float) -> FromParent | FromModel | None:
        """The next message; ``None`` after the timeout, or when a signal came in.

        Raises:
            ModelProcessDied: it ended; the message says how.
            OutOfMemory: the kernel's out-of-memory killer ended it.
        """
        if self._link is None:
            raise ModelProcessDied("the model process is not running")
        ready = wait([self._link.connection, self._wake], max(0.0, timeout_s))
        if self._wake in ready:
            self._drain_wakes()
        if self._link.connection not in ready:
            return None
        try:
            return self._link.receive()
        except (EOFError, OSError):
            raise self._end() from None

    def sleep(self, seconds: float) -> None:
        """Sleep, but not through a signal."""
        if wait([self._wake], seconds):
            self._drain_wakes()

    def kill(self) -> None:
        """End it now, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _drain_wakes(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            return

    def _end(self) -> ModelProcessDied:
        """Reap a process that ended, or is about to, and say how."""
        assert self._process is not None
        assert self._link is not None
        self._link.close()
        deadline = time.monotonic() + 5
        while self._process.poll() is None:  # a closed pipe comes a moment before the end
            if time.monotonic() > deadline:
                self._process.kill()
            time.sleep(0.01)
        self._pump.join(1)  # its last words
        code = self._process.returncode
        self._process = self._link = None
        if code >= 0:
            return ModelProcessDied(f"the model process ended with exit code {code}")
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL and (self._oom_kills() or 0) > self._oom_kills_before:
            return OutOfMemory("the model process was ended by the kernel: out of memory")
        return ModelProcessDied(f"the model process was ended by {name}")


def connect_to_parent(fd: int) -> Link:
    """The model process's end of the pipe."""
    return Link(Connection(fd))
