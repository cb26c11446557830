"""https:// sources: exactly one version, resumed where it broke, from allowed hosts, no secrets."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from redis import Redis

from shoal import egress
from shoal.errors import (
    NotAVideo,
    SourceChanged,
    SourceForbidden,
    SourceNotFound,
    StorageForbidden,
    StorageThrottled,
    StorageUnavailable,
    UnsupportedLocation,
)
from shoal.model.job import State
from shoal.model.record import text
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from shoal.storage import s3, storage_for
from shoal.storage.https import HttpsStorage
from tests import media
from tests.buckets import forget_clients, make_bucket
from tests.running import Processes, eventually
from tests.serving import served
from tests.web import WebServer, certificate

LOOPBACK = ("127.0.0.0/8",)
CONTENT = os.urandom(300_000)


@pytest.fixture
def web() -> Iterator[WebServer]:
    running = WebServer(CONTENT)
    yield running
    running.close()


@pytest.fixture
def storage() -> HttpsStorage:
    return HttpsStorage(LOOPBACK, pauses_s=(0, 0))


def test_what_is_there_is_found_and_fetched(
    web: WebServer, storage: HttpsStorage, tmp_path: Path
) -> None:
    url = f"{web.url}/a/match%201.mp4?X-Amz-Signature=s3cret"
    info = storage.stat(url)
    assert (info.uri, info.size) == (f"{web.url}/a/match%201.mp4", 300_000)
    assert info.version == "one:300000"
    path = storage.fetch(url, info.version, tmp_path)
    assert (path.parent, path.suffix, path.read_bytes()) == (tmp_path, ".mp4", CONTENT)
    assert b"".join(storage.read(url, 10, 20)) == CONTENT[10:30]
    assert storage.key(url).endswith("/a/match 1")
    assert {asked for asked, _ in web.asked} == {"/a/match%201.mp4?X-Amz-Signature=s3cret"}


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_download_that_breaks_continues(
    web: WebServer, storage: HttpsStorage, tmp_path: Path, has_ranges: bool
) -> None:
    web.has_ranges = has_ranges
    version = storage.stat(web.url).version
    web.asked.clear()
    web.breaks = [100_000, 50_000 if has_ranges else 150_000, 90_000 if has_ranges else 200_000]
    assert storage.fetch(web.url, version, tmp_path).read_bytes() == CONTENT
    starts = [asked for _, asked in web.asked]
    assert starts == ["bytes=0-", *(starts[1:])]
    if has_ranges:
        assert starts[1:] == ["bytes=100000-", "bytes=150000-", "bytes=240000-"]
        assert b"".join(storage.read(web.url, 100, 7)) == CONTENT[100:107]


def test_one_that_never_gets_further_is_given_up(
    web: WebServer, storage: HttpsStorage, tmp_path: Path
) -> None:
    version = storage.stat(web.url).version
    web.breaks = [1000] + [0] * 20
    with pytest.raises(StorageUnavailable):
        storage.fetch(web.url, version, tmp_path)
    assert len(web.breaks) == 18


@pytest.mark.parametrize("replaced", [True, False])
def test_another_version_is_never_mixed_in(
    web: WebServer, storage: HttpsStorage, tmp_path: Path, replaced: bool
) -> None:
    version = storage.stat(web.url).version
    answer = web.answer

    def change(handler: object) -> None:
        answer(handler)  # type: ignore[arg-type]
        web.headers = {"ETag": '"two"'}

    web.breaks = [100_000] if replaced else []
    web.answer = change  # type: ignore[method-assign]
    if replaced:
        with pytest.raises(SourceChanged):
            storage.fetch(web.url, version, tmp_path)
    else:
        storage.fetch(web.url, version, tmp_path)
        eventually(lambda: web.headers["ETag"] == '"two"', "the server to have changed it")
        with pytest.raises(SourceChanged):
            storage.fetch(web.url, version, tmp_path)


def test_versions_of_servers_without_etag(web: WebServer, storage: HttpsStorage) -> None:
    web.headers = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    assert storage.stat(web.url).version == "Mon, 01 Jan 2024 00:00:00 GMT:300000"
    web.headers = {}
    with pytest.raises(UnsupportedLocation):
        storage.stat(web.url)
    web.headers, web.content = {"ETag": '"one"'}, b""
    with pytest.raises(NotAVideo):
        storage.stat(web.url)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, StorageForbidden),
        (401, StorageForbidden),
        (403, StorageForbidden),
        (404, SourceNotFound),
        (410, SourceNotFound),
        (429, StorageThrottled),
        (500, StorageUnavailable),
        (503, StorageUnavailable),
    ],
)
def test_refusals_have_their_cause_and_no_secret(
    web: WebServer, storage: HttpsStorage, status: int, cause: type[Exception]
) -> None:
    web.status = status
    with pytest.raises(cause) as refused:
        storage.stat(f"{web.url}/a.mp4?token=s3cret")
    assert type(refused.value) is cause
    assert "s3cret" not in str(refused.value)


def test_redirects_stay_on_the_host(web: WebServer, storage: HttpsStorage) -> None:
    web.redirects = ["/there?token=s3cret"]
    assert storage.stat(web.url + "/here").uri == web.url + "/here"
    assert [path for path, _ in web.asked] == ["/here", "/there?token=s3cret"]
    other = WebServer(CONTENT, "127.0.0.2")
    for target in (other.url, "http://10.0.0.1/", "file:///etc/passwd", "https://127.0.0.1/"):
        web.redirects = [target + "?token=s3cret"]
        with pytest.raises((UnsupportedLocation, SourceForbidden)) as refused:
            storage.stat(web.url)
        assert "s3cret" not in str(refused.value)
    web.redirects = ["/again"] * 9
    with pytest.raises(UnsupportedLocation):
        storage.stat(web.url)
    assert other.asked == []
    other.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/",
        "https://user:s3cret@example.com/",
        "https://example.com:22/",
        "https://",
    ],
)
def test_private_hosts_are_out_of_reach(url: str) -> None:
    with pytest.raises((SourceForbidden, UnsupportedLocation)) as refused:
        storage_for(url, Settings()).stat(url + "?token=s3cret")
    assert "s3cret" not in str(refused.value)


def test_the_checked_address_is_the_one_that_is_used(web: WebServer) -> None:
    answers = [["127.0.0.1"], ["10.1.2.3"]]
    storage = HttpsStorage(("127.0.0.1",), lambda host, port: answers.pop(0))
    url = web.url.replace("127.0.0.1", "rebind.example") + "/a.mp4"
    assert storage.stat(url).size == 300_000
    assert answers == [["10.1.2.3"]]
    with pytest.raises(SourceForbidden):
        storage.stat(url)


def test_tls_asks_for_the_name_and_trusts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path, "videos.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(cert, key)
    web = WebServer(CONTENT, tls=serving)
    storage = HttpsStorage(("127.0.0.1",), lambda host, port: ["127.0.0.1"], pauses_s=())
    url = f"https://videos.example:{web.port}/a.mp4"
    with pytest.raises(StorageUnavailable, match="certificate"):
        storage.stat(url)
    trusting = ssl.create_default_context(cafile=str(cert))
    monkeypatch.setattr(egress, "tls", lambda: trusting)
    path = storage.fetch(url, storage.stat(url).version, tmp_path)
    assert path.read_bytes() == CONTENT
    with pytest.raises(StorageUnavailable, match="certificate"):
        storage.stat(url.replace("videos", "other"))
    web.close()


def test_plain_http_is_for_allowed_hosts_alone() -> None:
    storage = HttpsStorage((), lambda host, port: ["93.184.215.14"])
    with pytest.raises(SourceForbidden, match="http:// is not allowed"):
        storage.stat("http://public.example/a.mp4")


def test_nothing_is_listed_or_written(storage: HttpsStorage, tmp_path: Path) -> None:
    for call in (storage.list, storage.entries, storage.delete, storage.sweep):
        with pytest.raises(UnsupportedLocation):
            call("https://example.com/a/")
    with pytest.raises(UnsupportedLocation):
        storage.put(tmp_path / "a", "https://example.com/a", "video/mp4")


# --- from the submission to the results ----------------------------------------------------------


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker that stands still for some seconds is still known, and keeps its job."""
    return settings.model_copy(update={"lease_s": 60.0})


@pytest.fixture
def presigned(
    bucket_servers: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """The presigned URL of a clip in a private bucket."""
    for name, value in bucket_servers["s3"].items():
        monkeypatch.setenv(name, value)
    forget_clients()
    bucket = make_bucket("s3").rpartition("/")[2]
    clip = tmp_path / "clip.mp4"
    media.write_video(clip, frames=20, fps=10)
    s3._client().upload_file(str(clip), bucket, "a/match 1.mp4")
    params = {"Bucket": bucket, "Key": "a/match 1.mp4"}
    yield s3._client().generate_presigned_url("get_object", Params=params, ExpiresIn=600)
    forget_clients()


def secrets_of(url: str) -> list[str]:
    """The values of its query, as they are written there and decoded."""
    values = [pair.partition("=")[2] for pair in url.partition("?")[2].split("&")]
    return [text for value in values for text in {value, unquote(value)} if len(text) > 10]


def everything(redis: Redis) -> dict[str, str]:
    """What is in Redis, by key."""
    read: dict[str, Callable[[Any], object]] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "list": lambda key: redis.lrange(key, 0, -1),
        "zset": lambda key: redis.zrange(key, 0, -1),
        "stream": redis.xrange,
        "none": lambda key: "",  # it has lapsed, or was deleted, a moment ago
    }
    return {text(key): str(read[text(redis.type(key))](key)) for key in redis.keys("*")}


def test_a_presigned_url_leads_to_results_and_is_seen_nowhere(
    presigned: str, settings: Settings, queue: JobQueue, processes: Processes, tmp_path: Path
) -> None:
    secrets = secrets_of(presigned)
    assert secrets
    settings = settings.model_copy(update={"source_allow": LOOPBACK})
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        body = {"uri": presigned, "prompts": ["person"]}
        job = http.post("/videos", json=body).json()
        assert job["spec"]["uri"] == presigned.partition("?")[0]
        assert job["spec"]["results"].startswith(settings.results_root)
        assert http.post("/videos", json=body).json()["id"] == job["id"]
        kept = [key for key, value in everything(queue.redis).items() if presigned in value]
        assert kept == [queue.records.links.key(job["id"])]

        processes.worker(SHOAL_SOURCE_ALLOW=",".join(LOOPBACK))
        record = processes.wait_state(job["id"], "succeeded", "failed")
        assert record.error is None
        assert queue.redis.exists(queue.records.links.key(job["id"])) == 0
        path = f"/videos/{job['id']}"
        shown = "".join(
            http.get(each).text
            for each in (
                path,
                path + "/timeline",
                path + "/attempts",
                "/videos",
                "/ui/videos",
                f"/ui{path}",
                "/ui",
                "/rq",
                "/metrics",
            )
        )
        shown += processes.logs() + json.dumps(everything(queue.redis))
        for file in settings.data_dir.rglob("*_metadata.json"):
            shown += file.read_text()
        assert presigned.partition("?")[0] in shown
        assert [secret for secret in secrets if secret in shown] == []


def test_a_new_link_replaces_one_that_has_expired(
    web: WebServer, settings: Settings, queue: JobQueue
) -> None:
    settings = settings.model_copy(update={"source_allow": LOOPBACK})
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        ids = set()
        for signature in ("first", "second"):
            link = f"{web.url}/a.mp4?Expires=1&Signature={signature}&Key-Pair-Id=K"
            answer = http.post("/videos", json={"uri": link, "prompts": ["person"]})
            ids.add(answer.json()["id"])
            record = queue.records.get(answer.json()["id"])
            assert queue.records.links.find(record) == link
        assert len(ids) == 1
        queue.cancel(record.id)
        queue.forget(record.id)
        assert queue.redis.exists(queue.records.links.key(record.id)) == 0

        web.status = 403
        answer = http.post("/videos", json={"uri": link, "prompts": ["person"]})
        assert (answer.status_code, answer.json()["code"]) == (403, "storage_forbidden")
        assert "new link" in answer.json()["hint"]


def test_links_in_a_batch_are_kept_as_well(
    web: WebServer, settings: Settings, queue: JobQueue
) -> None:
    settings = settings.model_copy(update={"source_allow": LOOPBACK})
    good, bad = f"{web.url}/a.mp4?token=s3cret", "https://10.0.0.1/b.mp4?token=s3cret"
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        body = {"uris": [good, bad], "prompts": ["person"]}
        batch = http.post("/batches", json=body).json()["id"]
        eventually(lambda: Batches(queue).skips(batch), "the batch to be expanded")
        assert Batches(queue).skips(batch)[0].uri.startswith("https://10.0.0.1/b.mp4?query=")
        eventually(lambda: queue.records.counts()[State.QUEUED] == 1, "the job")
        (record,), _ = queue.records.page()
        assert record.spec.uri.startswith(f"{web.url}/a.mp4?query=")
        assert queue.records.links.find(record) == good
        paths = (f"/batches/{batch}", f"/batches/{batch}/skipped", f"/batches/{batch}/videos")
        assert "s3cret" not in "".join(http.get(path).text for path in (*paths, f"/ui{paths[0]}"))
