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
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

from shoal.errors import ModelProcessDied, OutOfMemory
from shoal.local.environment import HUB_TOKENS, for_model
from shoal.local.memory import GIB, held
from shoal.storage.files import published_umask
from worker.oom import oom_kills
from worker.pipe import MalformedMessage, ParentEnd
from worker.protocol import FromModel, FromParent, Load

log = logging.getLogger(__name__)

LOG_LINES = 200  # of the model process's log that a failure record keeps
LOG_LINE_CHARS = 500
LOG_CHUNK = 1 << 16  # a longer line is passed on in pieces
MEMORY_S = 0.25  # how often its memory is looked at
OOM_SCORE = "1000"  # the kernel takes it first when memory runs out, and its parent can tell


class ModelProcess:
    """One child process that holds the model; ``loads`` counts how often it was started.

    It is given what it needs and nothing else: no secret of queue or API in its environment, no
    open file but its pipe and its log.
    """

    def __init__(
        self,
        oom_kills: Callable[[], int | None] = oom_kills,
        *,
        max_memory: int = 0,
        also_env: Sequence[str] = (),
    ) -> None:
        """
        Args:
            oom_kills: how often the kernel ran out of memory here; ``None`` if it does not tell.
            max_memory: bytes that it may hold; 0: as many as it can get.
            also_env: names of variables that it is given besides the usual ones.
        """
        self.loads = 0
        self._oom_kills = oom_kills
        self._oom_kills_before = 0  # the current process was started
        self._max_memory = max_memory
        self._held_too_much = 0  # bytes, when it was ended for that
        self._also_env = also_env
        self.log_tail: deque[str] = deque(maxlen=LOG_LINES)
        self._started_at = -float("inf")
        self._process: subprocess.Popen[bytes] | None = None
        self._link: ParentEnd | None = None
        # Signals interrupt a wait: the handler's write to this pipe makes it readable.
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """Write its log to ours, and remember the end of it."""
        assert process.stdout is not None
        with process.stdout as lines:
            while line := lines.readline(LOG_CHUNK):
                self.log_tail.append(line.decode(errors="replace").rstrip()[:LOG_LINE_CHARS])
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()

    def _watch_memory(self, process: subprocess.Popen[bytes]) -> None:
        """End it when it holds more than it may. A thread's work: Redis may keep the parent."""
        while process.poll() is None:
            if (found := held(process.pid)) > self._max_memory:
                self._held_too_much = found
                kill_group(process)
                return
            time.sleep(MEMORY_S)

    @property
    def alive(self) -> bool:
        """Whether there is one that is fit for the next job. Only to be asked between jobs."""
        if self._process is not None and self._process.poll() is not None:
            log.error("%s, without a job", self._end())
        elif self._link is not None and not self._link.is_silent:
            log.error("the model process spoke without a job: another one is started")
            self.kill()
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
        module = [sys.executable, "-P", "-m", "worker.model_process", str(fd)]
        self._oom_kills_before = self._oom_kills() or 0
        self._held_too_much = 0
        # A session of its own: a Ctrl-C in the terminal is the parent's to handle.
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", "-m", "worker.confine", *module],
            env=for_model(os.environ, self._also_env),
            umask=published_umask(),
            pass_fds=[fd],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        self._link = ParentEnd(ours)
        self.loads += 1
        self._started_at = time.monotonic()
        _prefer_for_oom(process.pid)
        self._pump = threading.Thread(target=self._pass_on, args=(process,), daemon=True)
        self._pump.start()
        if self._max_memory:
            threading.Thread(target=self._watch_memory, args=(process,), daemon=True).start()
        self.send(Load(hf_token=os.environ.get(HUB_TOKENS[0], "")))
        log.info("model process %d started", process.pid)

    def send(self, message: FromParent) -> None:
        """Send a message; one that does not take it is ended, and ``wait`` tells."""
        if self._link is None or self._process is None:
            return
        try:
            self._link.send(message)
        except OSError as error:
            log.warning("the model process does not listen: %s", error)
            kill_group(self._process)

    def wait(self, timeout_s: float) -> FromModel | None:
        """The next message; ``None`` after the timeout, or when a signal came in.

        Raises:
            ModelProcessDied: it ended, or sent what is no message; the text says how.
            OutOfMemory: the kernel's out-of-memory killer ended it, or it held more than it may.
        """
        if self._link is None or self._process is None:
            raise ModelProcessDied("the model process is not running")
        try:
            if message := self._link.next():
                return message
            ready = wait([self._link.fileno(), self._wake], max(0.0, timeout_s))
            if self._wake in ready:
                self._drain_wakes()
            if self._link.fileno() not in ready:
                return None
            self._link.read()
            return self._link.next()
        except (EOFError, OSError):
            raise self._end() from None
        except MalformedMessage as error:
            self.kill()
            raise ModelProcessDied(
                f"the model process was ended for what it sent: {error}"
            ) from None

    def sleep(self, seconds: float) -> None:
        """Sleep, but not through a signal."""
        if wait([self._wake], seconds):
            self._drain_wakes()

    def kill(self) -> None:
        """End it now, if it runs."""
        if self._process is not None:
            kill_group(self._process)
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
                kill_group(self._process)
            time.sleep(0.01)
        kill_group(self._process)  # what it started
        self._pump.join(1)  # its last words
        code = self._process.returncode
        self._process = self._link = None
        if code >= 0:
            return ModelProcessDied(f"the model process ended with exit code {code}")
        if self._held_too_much:
            return _too_much(self._held_too_much, self._max_memory)
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL and (self._oom_kills() or 0) > self._oom_kills_before:
            return OutOfMemory("the model process was ended by the kernel: out of memory")
        return ModelProcessDied(f"the model process was ended by {name}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and what it started: an engine on several GPUs has a
    process for each, and would leave those behind with their memory."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of them have ended


def _too_much(found: int, limit: int) -> OutOfMemory:
    return OutOfMemory(
        f"the model process held {found / GIB:.2f} GiB of memory, its limit is "
        f"{limit / GIB:.2f} GiB",
        hint="It is tried again by itself; if it comes back, raise SHOAL_MAX_MEMORY where the "
        "machine has more, or run fewer workers on it.",
    )


def _prefer_for_oom(pid: int) -> None:
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE)
    except OSError as error:  # it has ended, or the system has no such thing
        log.debug("the kernel's choice when memory runs out stays as it is: %s", error)
