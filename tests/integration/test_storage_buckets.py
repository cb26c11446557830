"""gs://, s3:// and az://, with the real client libraries against real servers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import requests
from azure.core.exceptions import AzureError, HttpResponseError
from botocore.exceptions import ClientError
from google.api_core import exceptions as google_api
from google.auth import exceptions as google_auth

from shoal.client import Client
from shoal.errors import (
    DiskFull,
    SourceChanged,
    SourceNotFound,
    StorageForbidden,
    StorageNotWritable,
    StorageThrottled,
    StorageUnavailable,
    UnsupportedLocation,
    WrongRegion,
)
from shoal.model.job import State
from shoal.settings import Settings
from shoal.storage import azure, gcs, s3, storage_for
from shoal.storage.base import MARKER, VERSION, Storage
from shoal.storage.frames import FRAME_NAMES
from tests import media
from tests.buckets import forget_clients, make_bucket
from tests.running import Processes


@pytest.fixture(params=["gs", "s3", "s3-versioned", "az"])
def bucket(
    request: pytest.FixtureRequest,
    bucket_servers: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[str]:
    """The URI of an empty bucket."""
    scheme, _, versioned = request.param.partition("-")
    if not bucket_servers[scheme]:
        pytest.skip("Azurite is not installed: npm install --global azurite")
    for name, value in bucket_servers[scheme].items():
        monkeypatch.setenv(name, value)
    forget_clients()
    uri = make_bucket(scheme)
    if versioned:
        s3._client().put_bucket_versioning(
            Bucket=uri.rpartition("/")[2], VersioningConfiguration={"Status": "Enabled"}
        )
    yield uri
    forget_clients()


@pytest.fixture
def storage(bucket: str) -> Storage:
    return storage_for(bucket + "/x", Settings())


Put = Callable[[str, bytes], str]


@pytest.fixture
def put(storage: Storage, bucket: str, tmp_path: Path) -> Put:
    """Writes an object; returns its URI."""

    def write(key: str, content: bytes) -> str:
        local = tmp_path / "content"
        local.write_bytes(content)
        storage.put(local, f"{bucket}/{key}", "video/mp4")
        return f"{bucket}/{key}"

    return write


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


KEYS = ["a.mp4", "soccer/week 1/a+b%20c.mp4", "fußball/日本.mp4", "../../etc/passwd", "a//b.mp4"]


@pytest.mark.parametrize("key", KEYS)
def test_what_is_put_is_found_and_fetched(
    storage: Storage, put: Put, bucket: str, work_dir: Path, key: str
) -> None:
    if bucket.startswith("az:") and ".." in key:
        with pytest.raises(UnsupportedLocation):  # Azure has no such names
            put(key, b"content")
        return
    uri = put(key, b"content")
    info = storage.stat(uri)
    assert (info.uri, info.size) == (uri, 7)
    path = storage.fetch(uri, info.version, work_dir)
    assert path.read_bytes() == b"content"
    assert path.parent == work_dir  # whatever the key says
    assert b"".join(storage.read(uri)) == b"content"


def test_a_folder_is_listed_and_emptied(storage: Storage, put: Put, bucket: str) -> None:
    assert list(storage.entries(f"{bucket}/parts/a/")) == []
    for key in ("parts/a/1.state", "parts/a/2.state", "parts/ab", "parts/b/1.state"):
        put(key, b"content")
    found = [(info.uri, info.size) for info in storage.entries(f"{bucket}/parts/a/")]
    assert found == [(f"{bucket}/parts/a/1.state", 7), (f"{bucket}/parts/a/2.state", 7)]
    storage.delete(f"{bucket}/parts/a/")
    storage.delete(f"{bucket}/parts/a/")
    assert list(storage.entries(f"{bucket}/parts/a/")) == []
    assert storage.stat(f"{bucket}/parts/ab").size == 7
    assert storage.stat(f"{bucket}/parts/b/1.state").size == 7


def test_a_large_object_goes_in_parts(
    storage: Storage, put: Put, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(azure, "PART_BYTES", 5 << 20)
    azure._client.cache_clear()
    content = os.urandom(1 << 20) * 40  # more than one part for either store
    uri = put("large.mp4", content)
    path = storage.fetch(uri, storage.stat(uri).version, work_dir)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (3, 4, b"3456"), (0, 0, b""), (9, 1, b"9")],
)
def test_ranges(
    storage: Storage, put: Put, start: int, length: int | None, expected: bytes
) -> None:
    uri = put("a.bin", b"0123456789")
    assert b"".join(storage.read(uri, start, length)) == expected


def test_a_range_over_several_chunks(
    storage: Storage, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "CHUNK", 1000)
    monkeypatch.setattr(s3, "CHUNK", 1000)
    content = os.urandom(3500)
    uri = put("a.bin", content)
    assert b"".join(storage.read(uri, 500)) == content[500:]
    assert b"".join(storage.read(uri, 500, 2500)) == content[500:3000]


def test_a_replaced_object_is_another_version(storage: Storage, put: Put, work_dir: Path) -> None:
    uri = put("a.mp4", b"first")
    first = storage.stat(uri).version
    put("a.mp4", b"second")
    assert storage.stat(uri).version != first
    if first.startswith(VERSION):  # the bucket keeps it
        assert storage.fetch(uri, first, work_dir).read_bytes() == b"first"
    else:
        with pytest.raises(SourceChanged):
            storage.fetch(uri, first, work_dir)


def test_what_is_not_there_is_named(storage: Storage, bucket: str, work_dir: Path) -> None:
    for uri in (f"{bucket}/nothing.mp4", f"{bucket}-nowhere/a.mp4", f"{bucket}/folder/"):
        with pytest.raises(SourceNotFound):
            storage.stat(uri)
    with pytest.raises(SourceNotFound):
        b"".join(storage.read(f"{bucket}/nothing.mp4"))
    with pytest.raises(SourceNotFound):
        storage.fetch(f"{bucket}/nothing.mp4", "1", work_dir)


def test_a_bucket_that_is_not_there_cannot_be_written(
    storage: Storage, bucket: str, tmp_path: Path
) -> None:
    local = tmp_path / "a"
    local.write_bytes(b"a")
    with pytest.raises(StorageNotWritable):
        storage.put(local, f"{bucket}-nowhere/a.mp4", "video/mp4")


def test_deleting_twice_is_no_error(storage: Storage, put: Put) -> None:
    uri = put("a.mp4", b"a")
    storage.delete(uri)
    storage.delete(uri)
    with pytest.raises(SourceNotFound):
        storage.stat(uri)


def test_a_folder_of_frames_is_fetched_in_natural_order(
    storage: Storage, put: Put, bucket: str, work_dir: Path
) -> None:
    for number in (10, 9, 1):
        put(f"frames/f{number}.jpg", b"%d" % number)
    put("frames/notes.txt", b"no picture")
    put("frames/deeper/f2.jpg", b"not directly in it")
    info = storage.stat(f"{bucket}/frames/")
    assert info.size == 4
    path = storage.fetch(info.uri, info.version, work_dir)
    assert [each.read_bytes() for each in sorted(path.iterdir())] == [b"1", b"9", b"10"]
    names = json.loads(path.with_name(FRAME_NAMES).read_text())
    assert names == ["f1.jpg", "f9.jpg", "f10.jpg"]
    put("frames/f11.jpg", b"11")
    with pytest.raises(SourceChanged):
        storage.fetch(info.uri, info.version, work_dir)


def test_a_listing_goes_deep_and_gives_the_versions_of_stat(
    storage: Storage, put: Put, bucket: str
) -> None:
    for key in KEYS[:3]:
        put(key, b"old")
    uris = sorted(put(key, b"content") for key in KEYS[:3])
    found = sorted(storage.list(f"{bucket}/"), key=lambda info: info.uri)
    assert [(info.uri, info.size) for info in found] == [(uri, 7) for uri in uris]
    assert [info.version for info in found] == [storage.stat(uri).version for uri in uris]
    assert [info.uri for info in storage.list(f"{bucket}/soccer/w")] == [f"{bucket}/{KEYS[1]}"]
    assert MARKER in storage.stat(uris[0]).metadata


def test_a_listing_goes_on_after_any_object(storage: Storage, put: Put, bucket: str) -> None:
    uris = [put(key, b"x") for key in ("a/1", "a/10", "a/2", "a/€", "b c+%20")]
    for number, uri in enumerate(uris, 1):
        assert [info.uri for info in storage.list(f"{bucket}/", after=uri)] == uris[number:]
    assert [info.uri for info in storage.list(f"{bucket}/a/", after=uris[1])] == uris[2:4]
    if not bucket.startswith("s3:"):  # moto takes what follows a key that is gone for that key
        storage.delete(uris[1])
        assert [info.uri for info in storage.list(f"{bucket}/a/", after=uris[1])] == uris[2:4]


def test_keys_name_the_results(storage: Storage, bucket: str) -> None:
    assert storage.key(f"{bucket}/soccer/match.v2.mp4") == "soccer/match.v2"
    assert storage.key(f"{bucket}/frames.v2/") == "frames.v2"


@pytest.mark.parametrize("uri", ["gs://", "gs://bucket", "s3://bucket/", "s3:///key", "az://c"])
def test_a_uri_without_an_object_is_refused(uri: str) -> None:
    with pytest.raises(UnsupportedLocation):
        storage_for(uri, Settings()).stat(uri)


def test_a_download_that_fills_the_disk_is_named(
    storage: Storage, put: Put, work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put("a.mp4", b"content")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(storage), "_download", full)
    with pytest.raises(DiskFull):
        storage.fetch(uri, storage.stat(uri).version, work_dir)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", StorageForbidden),
        (301, "PermanentRedirect", WrongRegion),
        (503, "SlowDown", StorageThrottled),
        (500, "InternalError", StorageUnavailable),
    ],
)
def test_faults_of_s3_are_named(status: int, code: str, expected: type[Exception]) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(answer, "GetObject")  # type: ignore[arg-type]
    with pytest.raises(expected), s3.S3Storage().errors("s3://b/k"):
        raise error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (google_api.Forbidden("no"), StorageForbidden),  # type: ignore[no-untyped-call]
        (google_api.TooManyRequests("slow"), StorageThrottled),  # type: ignore[no-untyped-call]
        (google_api.ServiceUnavailable("down"), StorageUnavailable),  # type: ignore[no-untyped-call]
        (requests.ConnectionError("gone"), StorageUnavailable),
        (google_auth.DefaultCredentialsError("none"), StorageForbidden),
    ],
)
def test_faults_of_google_are_named(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected), gcs.GoogleStorage().errors("gs://b/k"):
        raise error


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, StorageForbidden),
        (403, StorageForbidden),
        (404, SourceNotFound),
        (429, StorageThrottled),
        (500, StorageUnavailable),
        (None, StorageUnavailable),
    ],
)
def test_faults_of_azure_are_named(status: int | None, expected: type[Exception]) -> None:
    error: AzureError = AzureError("gone")
    if status:
        error = HttpResponseError("no")
        error.status_code = status
    with pytest.raises(expected), azure.AzureStorage().errors("az://b/k"):
        raise error


def test_without_an_account_azure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    forget_clients()
    with pytest.raises(StorageForbidden):
        azure.AzureStorage().stat("az://container/a.mp4")


def test_a_video_in_a_bucket_becomes_results_in_the_bucket(
    bucket: str,
    put: Put,
    storage: Storage,
    processes: Processes,
    bucket_servers: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    media.write_video(tmp_path / "match.mp4", frames=25, fps=25)
    uri = put("soccer/match 1.mp4", (tmp_path / "match.mp4").read_bytes())
    processes.env |= {**bucket_servers[uri.partition(":")[0]], "SHOAL_RESULTS": f"{bucket}/results"}
    client: Client = processes.api()
    processes.worker()
    job = client.submit(uri, ["person"], sample_fps=0)
    record = client.wait(job.id)
    assert record.state == State.SUCCEEDED, record.error
    prefix = f"{bucket}/results/soccer/match 1/{job.id}/"
    assert record.spec.results_prefix == prefix
    for name, size in record.results.items():
        assert storage.stat(prefix + name).size == size
    (overlay,) = (file for file in client.results(job.id) if file.name.endswith(".mp4"))
    answer = httpx.get(client.url + overlay.url, headers={"Range": "bytes=4-7"}, trust_env=False)
    assert (answer.status_code, answer.content) == (206, b"ftyp")
