"""``shoal up``: Valkey, the API and workers on this machine, as one thing to start and stop."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

import httpx

from shoal.errors import DataDirBusy, PortBusy, StackError
from shoal.local.environment import for_api, for_server
from shoal.local.fleet import LocalFleet
from shoal.local.private import make_private
from shoal.local.service import LogLine, Service
from shoal.local.valkey import Valkey
from shoal.queue.connection import connect
from shoal.queue.workers import list_workers
from shoal.settings import Settings

log = logging.getLogger(__name__)

LOCK_S = 5.0  # a stack that was killed a moment ago is given this long to let go
STOP_S = 15.0  # an API or a Valkey that hangs after SIGTERM is killed after this


class Stack:
    """The processes of one data directory.

    Raises, from ``start`` and ``check``:
        DataDirBusy, PortBusy, StackError: with what to do about it.
    """

    def __init__(
        self, settings: Settings, *, workers: int, redis_url: str | None, log_line: LogLine
    ) -> None:
        self.settings = settings
        self.redis_url = redis_url
        self.log_line = log_line
        self.url = f"http://127.0.0.1:{settings.api_port}"
        self._worker_count = workers
        self._lock: IO[str] | None = None
        self._valkey: Service | None = None
        self._api: Service | None = None
        self._fleet = LocalFleet(log_line, workers, settings.max_memory)
        self._stop_asked = 0

    # --- start -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything, and return when the API answers and a worker has its model loaded."""
        self._lock = lock_data_dir(self.settings.data_dir)
        check_port_free(self.settings.api_port)
        if self.redis_url is None:
            self._start_valkey()
        env = {
            "SHOAL_REDIS_URL": self.redis_url or "",
            "SHOAL_DATA_DIR": str(self.settings.data_dir),
            "SHOAL_API_HOST": "127.0.0.1",
            "SHOAL_API_PORT": str(self.settings.api_port),
            "SHOAL_DRAIN": "0",  # Ctrl-C stops all at once; the next start continues
        }
        command = [sys.executable, "-P", "-m", "api"]
        self._api = Service("api", command, env, self.log_line, inherited=for_api(os.environ))
        self._api.start()
        for number in range(1, self._worker_count + 1):
            self._fleet.start(f"worker-{number}", env)
        self._wait_ready()

    def _start_valkey(self) -> None:
        assert self._lock is not None
        server = Valkey(self.settings.data_dir / "valkey", free_port())
        # It holds the lock too: as long as it lives, no other may open the same files.
        fds = [self._lock.fileno()]
        self._valkey = Service(
            "valkey", server.command(), {}, self.log_line, fds, for_server(os.environ)
        )
        self._valkey.start()
        assert self._valkey.process is not None
        server.wait_ready(self._valkey.process).close()
        server.config.unlink()  # it has been read; no process of this user needs the password there
        self.redis_url = server.url

    def _wait_ready(self) -> None:
        start_s = self.settings.model_load_timeout_s  # weights may have to be downloaded
        deadline = time.monotonic() + start_s
        settings = Settings(redis_url=self.redis_url or "")
        connection = connect(settings, attempts_s=5)
        while not self._stop_asked:
            if self._fleet.has_failed:
                raise StackError(
                    "no worker could load its model",
                    hint="See the log above, or run 'shoal doctor' to check this machine.",
                )
            self.check()
            ready = any(
                worker.state in ("idle", "busy")
                for worker in list_workers(connection, self.settings.queue)
            )
            if (ready or not self._fleet.workers) and self._api_answers():
                return
            if time.monotonic() > deadline:
                raise StackError(f"the API or the workers were not ready within {start_s:.0f} s")
            time.sleep(0.1)

    def _api_answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    # --- run -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Stay up until SIGINT or SIGTERM."""
        while not self._stop_asked:
            self.check()
            time.sleep(0.2)

    def handle_signals(self) -> None:
        """From now on SIGINT and SIGTERM end ``start`` and ``run``; a second one kills."""
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._stop_asked += 1
        if self._stop_asked > 1:
            for service in self._all():
                service.kill()

    @property
    def stop_asked(self) -> bool:
        return self._stop_asked > 0

    def check(self) -> None:
        """Fail when a process that all depends on has ended; restart workers."""
        for service in (self._valkey, self._api):
            if service and service.exit_code is not None and not self._stop_asked:
                raise StackError(f"{service.name} exited with code {service.exit_code}")
        if not self._stop_asked:
            self._fleet.revive()

    # --- stop ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop all: workers give back their jobs, then the API, then Valkey with all on disk."""
        if self._valkey is not None and self._valkey.exit_code is not None:
            self._fleet.kill()  # no queue to give a job back to: the next start finds it
        else:
            self._fleet.stop(self.settings.grace_s)
        for service in (self._api, self._valkey):
            if service:
                service.terminate()
                service.wait(STOP_S)
        if self._lock:
            self._lock.close()
            self._lock = None

    def _all(self) -> list[Service]:
        return [s for s in (*self._fleet.workers, self._api, self._valkey) if s]


def lock_data_dir(data_dir: Path) -> IO[str]:
    """Hold the data directory until the file is closed.

    Raises:
        DataDirBusy: another stack, or its Valkey, holds it.
        UnsafeFolder, StackError: other users can write to it; it cannot be made.
    """
    try:
        make_private(data_dir)
        lock = (data_dir / "up.lock").open("a")
    except OSError as error:
        raise StackError(
            f"cannot use {data_dir}: {error.strerror}", hint="Choose another --data-dir."
        ) from error
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise DataDirBusy(f"another 'shoal up' uses {data_dir}") from None
            time.sleep(0.1)


def check_port_free(port: int) -> None:
    """
    Raises:
        PortBusy: something listens on it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortBusy(f"port {port} on 127.0.0.1 is in use") from error


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
