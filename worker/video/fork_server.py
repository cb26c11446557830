"""Processes for hostile files that start at once: a server of its own forks them."""

from __future__ import annotations

import atexit
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from worker.video.bomb_guard import reading_environment
from worker.video.range_file import receive
from worker.video.stills_server import CODE, START, WAIT


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that the server has forked.

    Attributes:
        line: what it talks by.
    """

    line: socket.socket
    _control: socket.socket

    def wait(self) -> int:
        """What it ends with, as of ``subprocess.Popen``; -9 if its server has ended as well."""
        try:
            self._control.sendall(WAIT)
            (code,) = CODE.unpack(receive(self._control, CODE.size))
        except (EOFError, ConnectionError):
            return -signal.SIGKILL
        return int(code)


class ForkServer:
    """Starts the server when it is first needed, and again if it has ended."""

    def __init__(self, command: Sequence[str]) -> None:
        """
        Args:
            command: of Python; gets the number of its socket as the last argument.
        """
        self._command = command
        self._lock = threading.Lock()
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        atexit.register(self.close)

    @contextmanager
    def forked(self) -> Iterator[Forked]:
        """A process, which is ended with the block."""
        ours, theirs = socket.socketpair()
        control, watched = socket.socketpair()
        with ours, control, theirs, watched:
            with self._lock:
                _, requests = self._running()
                socket.send_fds(requests, [START], [theirs.fileno(), watched.fileno()])
            theirs.close()
            watched.close()
            yield Forked(ours, control)

    def close(self) -> None:
        if self._server:
            process, requests = self._server
            requests.close()
            process.kill()
            process.wait()
            self._server = None

    def _running(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._server and self._server[0].poll() is None:
            return self._server
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", *self._command, str(theirs.fileno())],
                env=reading_environment() | {"OPENBLAS_NUM_THREADS": "1"},  # it forks
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._server = process, ours
        return self._server
