"""With results in a bucket, uploads go there and no disk is used; any API continues any upload."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from pydantic import SecretStr

from shoal.ingest.rules_file import RulesFile
from shoal.model.record import now
from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.queue.stats import DAY_S
from shoal.queue.tokens import TokenStore
from shoal.queue.uploads import KEPT_S
from shoal.retention.deletion import Deletions
from shoal.retention.uploads import UnusedUploads
from shoal.retention.usage import measure
from shoal.settings import Settings
from shoal.storage import s3, storage_for
from shoal.storage.base import MARKER
from tests.buckets import clients_of, make_bucket
from tests.integration.test_api_resumable import (
    TUS,
    create,
    encoded,
    is_at,
    offset,
    patch,
    send_part,
)
from tests.running import eventually
from tests.serving import served

CONTENT = os.urandom(20_000_000)  # three pieces
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["gs", "s3", "az"])
def bucket(
    request: pytest.FixtureRequest, bucket_servers: dict[str, dict[str, str]]
) -> Iterator[str]:
    """The URI of an empty bucket."""
    with clients_of(bucket_servers[request.param]):
        yield make_bucket(request.param)


@pytest.fixture(autouse=True)
def _tests_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """No API does it meanwhile: whoever is first has the turn."""
    monkeypatch.setattr("api.background.retention.PAUSE_S", 3600.0)


@pytest.fixture
def settings(settings: Settings, bucket: str) -> Settings:
    return settings.model_copy(update={"results": f"{bucket}/results"})


@pytest.fixture
def http(settings: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        yield http


def listed(settings: Settings) -> dict[str, int]:
    """URI -> bytes of all that is in the bucket."""
    root = settings.results.removesuffix("results")
    return {info.uri: info.size for info in storage_for(root, settings).list(root)}


def target(settings: Settings, name: str = "match.mp4", sha256: str = SHA256) -> str:
    return f"{settings.results}/.uploads/{sha256[:16]}/{name}"


def is_clean(settings: Settings, *kept: str) -> bool:
    """Whether there are these uploads and not a piece of any other."""
    if settings.results.startswith("s3:"):
        name = settings.results.split("/")[2]
        assert "Uploads" not in s3._client().list_multipart_uploads(Bucket=name)
    return set(listed(settings)) == set(kept)


def test_an_upload_survives_interruptions_and_restarts_of_the_api(
    settings: Settings, queue: JobQueue
) -> None:
    """By requests that break off at odd places: some pieces are smaller than S3's parts."""
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        path = create(http, len(CONTENT)).headers["Location"]
        send_part(url, path, 0, CONTENT[:9_000_000], len(CONTENT))
        eventually(partial(is_at, http, path, 9_000_000), "what has arrived to be kept")
        at = 9_000_000 + 1000
        assert patch(http, path, 9_000_000, CONTENT[9_000_000:at]).status_code == 204
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert offset(http, path) == at
        assert http.get(path).status_code == 409
        assert patch(http, path, at, CONTENT[at:]).status_code == 204
        stored = http.get(path).json()
        assert stored == {"uri": target(settings), "bytes": len(CONTENT), "sha256": SHA256}
        info = storage_for(stored["uri"], settings).stat(stored["uri"])
        assert info.size == len(CONTENT)
        assert MARKER in info.metadata  # events of it make no job
        assert info.content_type == "video/mp4"
        assert b"".join(storage_for(info.uri, settings).read(info.uri)) == CONTENT

        # Either way in is the same video, and stays the same version.
        again = http.put("/uploads/match.mp4", content=CONTENT).json()
        assert again["uri"] == stored["uri"]
        assert storage_for(info.uri, settings).stat(info.uri).version == info.version
        answer = http.post("/videos", json={"uri": stored["uri"], "prompts": ["person"]})
        assert answer.status_code == 202, answer.text
        assert queue.records.get(answer.json()["id"]).spec.results.endswith("/results/match")
    assert is_clean(settings, stored["uri"])
    assert not settings.uploads_dir.exists()


def test_many_small_pieces_are_one_object(settings: Settings, http: httpx.Client) -> None:
    content = CONTENT[:70_000]
    path = create(http, len(content)).headers["Location"]
    for at in range(0, len(content), 1000):
        answer = patch(http, path, at, content[at : at + 1000])
        assert answer.status_code == 204 or answer.json()["code"] == "storage_unavailable"
        assert offset(http, path) == at + 1000  # also where joining took longer than it may
    eventually(lambda: http.get(path).status_code == 200, "the pieces to be joined")
    sha256 = http.get(path).json()["sha256"]
    assert sha256 == hashlib.sha256(content).hexdigest()
    uri = target(settings, sha256=sha256)
    assert b"".join(storage_for(uri, settings).read(uri)) == content
    eventually(lambda: is_clean(settings, uri), "the pieces to be removed")


def test_a_checksum_decides_what_is_kept(settings: Settings, http: httpx.Client) -> None:
    path = create(http, len(CONTENT)).headers["Location"]
    half = 10_000_000
    good = f"sha1 {encoded(hashlib.sha1(CONTENT[:half]).digest())}"
    answer = patch(http, path, 0, CONTENT[1 : half + 1], Upload_Checksum=good)
    assert (answer.status_code, offset(http, path)) == (460, 0)
    answer = patch(http, path, 0, CONTENT[:half], Upload_Checksum=good)
    assert (answer.status_code, offset(http, path)) == (204, half)
    assert patch(http, path, half, CONTENT[half:]).status_code == 204
    assert http.get(path).json()["sha256"] == SHA256
    assert is_clean(settings, target(settings))


def test_an_upload_can_be_ended(settings: Settings, http: httpx.Client) -> None:
    path = create(http, 10).headers["Location"]
    patch(http, path, 0, b"01234")
    assert http.delete(path, headers=TUS).status_code == 204
    assert http.head(path, headers=TUS).status_code == 404
    assert is_clean(settings)
    path = create(http, 5).headers["Location"]
    patch(http, path, 0, b"01234")
    stored = http.get(path).json()["uri"]
    assert http.delete(path, headers=TUS).status_code == 204
    assert is_clean(settings, stored)


def test_an_older_request_changes_nothing(
    settings: Settings, http: httpx.Client, queue: JobQueue
) -> None:
    path = create(http, 10).headers["Location"]
    assert patch(http, path, 0, b"01234").status_code == 204
    for at in (0, 4, 6, 10):
        assert patch(http, path, at, b"xxxxx").status_code == 409
    assert patch(http, path, 5, b"56789x").status_code == 409  # more than was announced
    assert patch(http, path, 5, b"56789").status_code == 204
    assert http.get(path).json()["sha256"] == hashlib.sha256(b"0123456789").hexdigest()


def in_chunks() -> Iterator[bytes]:
    """Without a length."""
    yield from (CONTENT[at : at + 100_000] for at in range(0, len(CONTENT), 100_000))


def test_an_upload_in_one_request(settings: Settings, http: httpx.Client, queue: JobQueue) -> None:
    for name, content in (("a #1.mp4", CONTENT), ("b.mp4", in_chunks())):
        answer = http.put(f"/uploads/{name.replace('#', '%23')}", content=content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["uri"] == target(settings, name)
    answer = http.put("/uploads/empty.mp4", content=b"")
    assert answer.status_code == 201
    empty = target(settings, "empty.mp4", hashlib.sha256().hexdigest())
    assert is_clean(settings, target(settings, "a #1.mp4"), target(settings, "b.mp4"), empty)
    answer = http.post("/videos", json={"uri": target(settings, "a #1.mp4"), "prompts": ["car"]})
    spec = queue.records.get(answer.json()["id"]).spec
    assert spec.results.endswith("/results/a #1")


def test_limits_hold_over_all_apis(settings: Settings, queue: JobQueue) -> None:
    changes = {"max_uploads_bytes": 1000, "api_tokens": (SecretStr("x" * 20),)}
    limited = settings.model_copy(update=changes)
    tokens = TokenStore(queue.redis, queue.name)
    secrets = {name: tokens.create(name, Scope.SUBMIT)[1] for name in ("alice", "bob")}
    alice, bob = ({"Authorization": f"Bearer {secret}"} for secret in secrets.values())
    with (
        served(limited) as first,
        served(limited) as second,
        httpx.Client(base_url=first, trust_env=False) as http,
        httpx.Client(base_url=second, trust_env=False) as other,
    ):
        path = create(http, 400, **alice).headers["Location"]
        answer = create(other, 200, **alice)  # reserved before a byte is there
        assert (answer.status_code, answer.json()["code"]) == (507, "uploads_full")
        assert other.put("/uploads/a.mp4", content=bytes(200), headers=alice).status_code == 507
        assert other.head(path, headers=TUS | bob).status_code == 404
        assert other.delete(path, headers=TUS | alice).status_code == 204
        assert other.put("/uploads/a.mp4", content=bytes(500), headers=alice).status_code == 201
        assert http.put("/uploads/b.mp4", content=bytes(1), headers=alice).status_code == 507
        chunks = (bytes(100) for _ in range(6))
        assert http.put("/uploads/b.mp4", content=chunks, headers=bob).status_code == 507
        assert http.put("/uploads/b.mp4", content=bytes(500), headers=bob).status_code == 201
    uri = next(uri for uri in listed(settings) if uri.endswith("a.mp4"))
    Deletions(queue, settings)
    assert sum(listed(settings).values()) == 1000
    unused = UnusedUploads(queue, limited)
    unused.run()
    expire(queue, settings, uri)
    with served(limited) as url, httpx.Client(base_url=url, trust_env=False) as http:
        assert http.put("/uploads/a.mp4", content=bytes(500), headers=alice).status_code == 201


def expire(queue: JobQueue, settings: Settings, *uris: str) -> None:
    """As if it was long ago that uploads were found without a job."""
    for uri in uris:
        queue.redis.zadd(f"{queue.name}:unused-uploads", {uri: now() - 8 * DAY_S})
    queue.redis.delete(f"{queue.name}:uploads-listed")
    UnusedUploads(queue, settings).run()


def test_what_no_job_uses_and_what_was_not_finished_goes(
    settings: Settings, http: httpx.Client, queue: JobQueue
) -> None:
    used, unused, fresh = (
        http.put(f"/uploads/{name}.mp4", content=name.encode()).json()["uri"] for name in "abc"
    )
    answer = http.post("/videos", json={"uri": used, "prompts": ["person"]})
    record = queue.records.get(answer.json()["id"])
    path = create(http, 10).headers["Location"]
    assert patch(http, path, 0, b"01234").status_code == 204
    lapsed = create(http, 10).headers["Location"]
    assert patch(http, lapsed, 0, b"01234").status_code == 204
    key = f"{queue.name}:upload:{lapsed.rpartition('/')[2]}-local"
    assert KEPT_S - 60 < int(queue.redis.ttl(key)) <= KEPT_S
    queue.redis.delete(key)

    expire(queue, settings, used, unused)
    left = set(listed(settings))
    assert {used, fresh} <= left
    assert unused not in left
    assert not any(lapsed.rpartition("/")[2] in uri for uri in left)
    assert patch(http, path, 5, b"56789").status_code == 204  # it goes on
    totals = queue.records.totals.read()
    assert (totals["deletions:uploads"], totals["deletion_bytes:uploads"]) == (1, 1)
    uses = {use.what: use.files for use in measure(RulesFile(settings).current(), settings).items}
    assert uses["uploads"] == 3

    Deletions(queue, settings).ask(record.id)
    assert Deletions(queue, settings).run() == [record.id]
    assert used not in listed(settings)
    assert used.encode() not in queue.redis.hgetall(f"{queue.name}:uploads")


def test_redis_is_lost_and_nothing_else(
    settings: Settings, http: httpx.Client, queue: JobQueue
) -> None:
    """What is stored takes room again; what was under way starts over and leaves nothing."""
    stored = http.put("/uploads/a.mp4", content=b"12345").json()["uri"]
    path = create(http, 10).headers["Location"]
    assert patch(http, path, 0, b"01234").status_code == 204
    queue.redis.flushdb()
    assert http.head(path, headers=TUS).status_code == 404
    UnusedUploads(queue, settings).run()
    if not settings.results.startswith("az:"):  # which deletes blocks by itself
        assert is_clean(settings, stored)
    assert queue.redis.hgetall(f"{queue.name}:uploads") == {stored.encode(): b"5 "}
