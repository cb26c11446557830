"""Uploads over HTTP."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from api.routes.uploads import PARTIAL_KEPT_S
from shoal.client import Client
from shoal.errors import ApiError
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.integration.test_api_videos import code_of
from tests.serving import served, wait_for

CONTENT = os.urandom(3_000_000)


def put(http: httpx.Client, name: str, content: bytes = CONTENT) -> httpx.Response:
    path = quote(name, safe="").replace(".", "%2E")  # httpx would resolve ".."
    return http.put(f"/uploads/{path}", content=content)


def files_in(settings: Settings) -> list[str]:
    """Everything below the uploads folder, what is half done included."""
    root = settings.uploads_dir
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def small(settings: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    """An API that takes uploads of up to 2 MB."""
    limited = settings.model_copy(update={"max_upload_bytes": 2_000_000})
    with served(limited) as url, httpx.Client(base_url=url) as http:
        yield http


def test_an_upload_is_kept_under_its_hash(http: httpx.Client, settings: Settings) -> None:
    response = put(http, "match.mp4")
    digest = hashlib.sha256(CONTENT).hexdigest()
    path = settings.uploads_dir / digest[:16] / "match.mp4"
    assert response.status_code == 201
    assert response.json() == {"uri": path.as_uri(), "bytes": len(CONTENT), "sha256": digest}
    assert path.read_bytes() == CONTENT
    assert files_in(settings) == [f"{digest[:16]}/match.mp4"]


def test_the_same_content_again_is_the_same_job(http: httpx.Client, settings: Settings) -> None:
    ids = set()
    for _ in range(2):
        uri = put(http, "match.mp4").json()["uri"]
        job = http.post("/videos", json={"uri": uri, "prompts": ["person"]}).json()
        ids.add(job["id"])
        time.sleep(0.02)  # a file written again would have another time
    assert len(ids) == 1
    assert len(files_in(settings)) == 1


def test_results_of_an_upload_are_named_after_it(http: httpx.Client, settings: Settings) -> None:
    uri = put(http, "my match.v2.mp4").json()["uri"]
    job = http.post("/videos", json={"uri": uri, "prompts": ["person"]}).json()
    assert job["spec"]["results"] == f"{settings.results_root}/my%20match.v2"


def test_many_at_once_do_not_mix(api_url: str, settings: Settings) -> None:
    def send(content: bytes) -> None:
        with httpx.Client(base_url=api_url) as http:
            answers.append(put(http, "clip.mp4", content).json())

    contents = [bytes([i // 2]) * 2_000_000 for i in range(8)]  # each twice
    answers: list[dict[str, str]] = []
    threads = [threading.Thread(target=send, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({answer["uri"] for answer in answers}) == 4
    for answer in answers:
        content = Path(urlsplit(answer["uri"]).path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == answer["sha256"]
    assert len(files_in(settings)) == 4


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", ".", ".hidden", "a/b.mp4", "../up.mp4", "a\\b.mp4"),
        *("a\0b", "a\tb", "a\x1b[2J", "a\u2028b"),
        *("x" * 201, "漢" * 100),
    ],
)
def test_a_name_that_is_no_plain_file_name(
    http: httpx.Client, settings: Settings, name: str
) -> None:
    assert code_of(put(http, name, b"x")) == (422, "invalid_request")
    assert files_in(settings) == []


@pytest.mark.parametrize("name", ["a", "ü 漢字 #?%25&.mp4", "-rf", "x" * 180, "con.mp4", "a..b"])
def test_any_plain_name_is_kept(http: httpx.Client, name: str) -> None:
    uri = put(http, name, b"content").json()["uri"]
    job = http.post("/videos", json={"uri": uri, "prompts": ["person"]})
    assert job.status_code == 202
    assert uri.endswith("/" + quote(name))


def test_too_large_by_its_own_account(small: httpx.Client, settings: Settings) -> None:
    assert code_of(put(small, "big.mp4")) == (413, "upload_too_large")
    assert files_in(settings) == []


def test_too_large_without_saying_so(small: httpx.Client, settings: Settings) -> None:
    chunks = (CONTENT[i : i + 100_000] for i in range(0, len(CONTENT), 100_000))
    assert code_of(small.put("/uploads/big.mp4", content=chunks)) == (413, "upload_too_large")
    assert files_in(settings) == []


def test_a_refused_client_hears_why(settings: Settings, queue: JobQueue, tmp_path: Path) -> None:
    """Although it is still sending when the answer comes."""
    big = tmp_path / "big.mp4"
    big.write_bytes(bytes(100_000_000))
    limited = settings.model_copy(update={"max_upload_bytes": 2_000_000})
    with served(limited) as url, Client(url) as client, pytest.raises(ApiError) as refusal:
        client.upload(big)
    assert refusal.value.remote_code == "upload_too_large"


def test_a_connection_that_breaks_leaves_nothing(
    http: httpx.Client, api_url: str, settings: Settings
) -> None:
    address = urlsplit(api_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"PUT /uploads/a.mp4 HTTP/1.1\r\nHost: {address.netloc}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 9000000\r\n\r\n" + CONTENT)
        wait_for(lambda: len(files_in(settings)) == 1)
    wait_for(lambda: files_in(settings) == [])
    assert put(http, "a.mp4").status_code == 201


def test_what_a_crash_left_is_removed_in_time(settings: Settings, queue: JobQueue) -> None:
    partials = settings.uploads_dir / ".partial"
    partials.mkdir(parents=True)
    for name, age_s in (("old", PARTIAL_KEPT_S + 60), ("new", 60)):
        (partials / name).touch()
        moment = time.time() - age_s
        os.utime(partials / name, (moment, moment))
    with served(settings):
        assert files_in(settings) == [".partial/new"]


def test_a_folder_that_cannot_be_written(http: httpx.Client, settings: Settings) -> None:
    settings.uploads_dir.parent.mkdir(parents=True, exist_ok=True)
    settings.uploads_dir.write_text("a file where the folder should be")
    assert code_of(put(http, "a.mp4")) == (500, "storage_not_writable")


def test_a_full_disk(
    http: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("api.routes.uploads.UploadSpace.open", full)
    assert code_of(put(http, "a.mp4")) == (507, "disk_full")
    assert files_in(settings) == []
