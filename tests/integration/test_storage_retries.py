"""Uploads to buckets that fail for a while, through the real client libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.errors import SourceNotFound, StorageNotWritable, StorageThrottled, StorageUnavailable
from shoal.model.job import State
from shoal.settings import Settings
from shoal.storage import gcs, s3, storage_for
from shoal.storage.base import Storage
from tests import media
from tests.buckets import forget_clients, make_bucket
from tests.flaky import Flaky, flaky
from tests.running import Processes

ADDRESS = {"gs": "STORAGE_EMULATOR_HOST", "s3": "AWS_ENDPOINT_URL_S3"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker that stands still for some seconds is still known, and keeps its job."""
    return settings.model_copy(update={"lease_s": 60.0})


@pytest.fixture(params=["gs", "s3"])
def scheme(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def network(
    scheme: str, bucket_servers: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flaky]:
    """What lies between the clients and the bucket."""
    env = bucket_servers[scheme]
    with flaky(env[ADDRESS[scheme]]) as proxy:
        for name, value in (env | {ADDRESS[scheme]: proxy.url}).items():
            monkeypatch.setenv(name, value)
        forget_clients()
        yield proxy
    forget_clients()


@pytest.fixture
def bucket(scheme: str, network: Flaky) -> str:
    """The URI of an empty bucket."""
    return make_bucket(scheme)


@pytest.fixture
def storage(bucket: str) -> Storage:
    return storage_for(bucket + "/x", Settings())


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "part"
    path.write_bytes(os.urandom(100_000))
    return path


def give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "UPLOAD_RETRY", gcs.UPLOAD_RETRY.with_timeout(2))
    monkeypatch.setattr(s3, "UPLOAD_ATTEMPTS", 2)


@pytest.mark.parametrize("status", [429, 503, 0])
def test_an_upload_outlives_a_short_fault(
    storage: Storage, bucket: str, network: Flaky, local: Path, status: int
) -> None:
    network.failures, network.status = 2, status
    storage.put(local, f"{bucket}/parts/a.state", "application/octet-stream")
    assert network.failed == 2
    assert b"".join(storage.read(f"{bucket}/parts/a.state")) == local.read_bytes()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, StorageUnavailable),
        (429, StorageThrottled),
        (0, StorageUnavailable),
        (403, StorageNotWritable),
    ],
)
def test_a_lasting_fault_is_named_and_leaves_no_object(
    storage: Storage,
    bucket: str,
    network: Flaky,
    local: Path,
    status: int,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_up_soon(monkeypatch)
    network.failures, network.status = 1000, status
    with pytest.raises(error):
        storage.put(local, f"{bucket}/parts/a.state", "application/octet-stream")
    if status == 403:
        assert network.failed == 1, "a refusal is not tried again"
    assert list(storage.entries(f"{bucket}/parts/")) == []
    with pytest.raises(SourceNotFound):
        storage.stat(f"{bucket}/parts/a.state")


def test_a_video_outlives_uploads_that_fail(
    storage: Storage,
    bucket: str,
    network: Flaky,
    processes: Processes,
    tmp_path: Path,
) -> None:
    """Parts and results, within the attempt."""
    media.write_video(tmp_path / "match.mp4", frames=50, fps=25)
    storage.put(tmp_path / "match.mp4", f"{bucket}/match.mp4", "video/mp4")
    processes.env |= {**os.environ, "SHOAL_RESULTS": f"{bucket}/results", "SHOAL_PART_S": "0.2"}
    processes.env["PYTHONPATH"] = str(Path.cwd())
    client = processes.api()
    network.failures = 3
    processes.worker("tests.fakes:Slow")
    record = client.wait(client.submit(f"{bucket}/match.mp4", ["person"], sample_fps=0).id)
    assert record.state == State.SUCCEEDED, record.error
    assert (record.attempt, network.failed) == (1, 3)
