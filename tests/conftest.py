"""What the tests share: a real Valkey, and the settings that point to it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from shoal.embedded.valkey import find_server
from shoal.queue import JobQueue, connect, open_queue
from shoal.settings import Settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of the test session's own."""
    folder = tmp_path_factory.mktemp("valkey")
    port = free_port()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        connect(Settings(redis_url=url), attempts_s=20).close()
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> Settings:
    """Settings of an empty Shoal, with leases short enough for a test."""
    return Settings(
        redis_url=valkey_url,
        data_dir=tmp_path / "data",
        work_dir=tmp_path / "work",
        beat_s=0.5,
        lease_s=3,
        grace_s=5,
    )


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    connection = connect(settings)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def queue(settings: Settings, redis: Redis) -> JobQueue:
    return open_queue(settings, redis)
