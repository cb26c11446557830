"""What benchmarks measure: a Valkey of their own, and an API over it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from shoal.local.stack import free_port
from shoal.local.valkey import find_server
from shoal.queue.connection import connect
from shoal.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """The URL of a server that keeps nothing, and answers."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    try:
        connect(Settings(redis_url=url), attempts_s=20).close()
        yield url
    finally:
        server.kill()
        server.wait()


@contextmanager
def api(redis_url: str, folder: Path, tree: Path = ROOT) -> Iterator[tuple[str, psutil.Process]]:
    """The URL and the process of an API.

    Args:
        tree: the checkout whose API it is.
    """
    port = free_port()
    env = {
        "PYTHONPATH": str(tree),
        "SHOAL_REDIS_URL": redis_url,
        "SHOAL_DATA_DIR": str(folder),
        "SHOAL_API_PORT": str(port),
    }
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"], cwd=tree, env=os.environ | env, stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url)
        yield url, psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the API did not start")
