"""How much of the API's disk uploads may take: in all, by token, and down to which floor."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from shoal.model.token import Scope
from shoal.queue.queue import JobQueue
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests.integration.test_api_uploads import files_in, put
from tests.integration.test_api_videos import code_of
from tests.serving import served, wait_for

LIMIT = 2_000_000
FULL = (507, "uploads_full")

Send = Callable[[httpx.Client, str, int], httpx.Response]


def whole(http: httpx.Client, name: str, size: int) -> httpx.Response:
    return put(http, name, os.urandom(size))


def in_chunks(http: httpx.Client, name: str, size: int) -> httpx.Response:
    """Without a Content-Length."""
    chunks = (os.urandom(min(100_000, size - at)) for at in range(0, size, 100_000))
    return http.put(f"/uploads/{name}", content=chunks)


both_ways = pytest.mark.parametrize("send", [whole, in_chunks])


@pytest.fixture
def limited(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_uploads_bytes": LIMIT})


@pytest.fixture
def http(limited: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    with served(limited) as url, httpx.Client(base_url=url) as http:
        yield http


@both_ways
def test_uploads_end_at_the_quota(http: httpx.Client, settings: Settings, send: Send) -> None:
    assert send(http, "a.mp4", 1_500_000).status_code == 201
    refused = send(http, "b.mp4", 600_000)
    assert code_of(refused) == FULL
    assert "SHOAL_MAX_UPLOADS_BYTES" in refused.json()["hint"]
    assert len(files_in(settings)) == 1
    assert send(http, "c.mp4", 500_000).status_code == 201


def test_room_that_was_made_is_used_at_once(http: httpx.Client, settings: Settings) -> None:
    assert whole(http, "a.mp4", LIMIT).status_code == 201
    for folder in settings.uploads_dir.glob("[!.]*"):
        shutil.rmtree(folder)
    assert whole(http, "b.mp4", LIMIT).status_code == 201


def test_it_is_refused_before_its_first_byte(http: httpx.Client) -> None:
    address = urlsplit(str(http.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        head = f"PUT /uploads/a.mp4 HTTP/1.1\r\nHost: {address.netloc}\r\n"
        connection.sendall(f"{head}Content-Length: {LIMIT + 1}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 507 ")


def test_what_is_announced_is_reserved_until_the_connection_breaks(
    http: httpx.Client, settings: Settings
) -> None:
    address = urlsplit(str(http.base_url))
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"PUT /uploads/a.mp4 HTTP/1.1\r\nHost: {address.netloc}\r\n"
        connection.sendall(f"{head}Content-Length: {LIMIT}\r\n\r\nhalf".encode())
        wait_for(lambda: any(path.stat().st_size for path in settings.uploads_dir.rglob("*-local")))
        assert code_of(whole(http, "b.mp4", 1)) == FULL
    wait_for(lambda: files_in(settings) == [])
    assert whole(http, "b.mp4", LIMIT).status_code == 201


@both_ways
def test_uploads_to_several_apis_keep_the_quota_together(
    limited: Settings, queue: JobQueue, send: Send
) -> None:
    def upload(url: str, number: int) -> None:
        with httpx.Client(base_url=url) as http:
            answers.append(send(http, f"{number}.mp4", LIMIT // 4).status_code)

    answers: list[int] = []
    with ExitStack() as stack:
        urls = [stack.enter_context(served(limited)) for _ in range(2)]
        for url in urls:  # FastAPI builds a route at its first request, not safe for two threads
            assert httpx.put(f"{url}/uploads/.hidden").status_code == 422
        threads = [threading.Thread(target=upload, args=(urls[i % 2], i)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kept = [limited.uploads_dir / name for name in files_in(limited)]
    assert answers.count(201) == len(kept) > 0
    assert answers.count(507) == 12 - len(kept)
    assert sum(path.stat().st_size for path in kept) <= LIMIT


def test_no_token_takes_it_all(limited: Settings, queue: JobQueue) -> None:
    store = TokenStore(queue.redis, queue.name)
    secrets = {name: store.create(name, Scope.SUBMIT)[1] for name in ("alice", "bob")}
    secrets["admin"] = "a-token-of-the-operator"
    guarded = limited.model_copy(update={"api_tokens": (SecretStr(secrets["admin"]),)})
    with served(guarded) as url, ExitStack() as stack:
        alice, bob, admin = (
            stack.enter_context(
                httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secrets[name]}"})
            )
            for name in ("alice", "bob", "admin")
        )
        assert whole(alice, "a.mp4", 900_000).status_code == 201
        assert code_of(whole(alice, "b.mp4", 200_000)) == FULL
        assert code_of(in_chunks(alice, "b.mp4", 200_000)) == FULL
        assert whole(bob, "b.mp4", 600_000).status_code == 201
        assert whole(admin, "c.mp4", 500_000).status_code == 201
        assert code_of(whole(bob, "d.mp4", 1)) == FULL


def test_the_disk_is_not_filled_to_its_end(settings: Settings, queue: JobQueue) -> None:
    floor = settings.model_copy(update={"min_free_bytes": 1 << 60})
    with served(floor) as url, httpx.Client(base_url=url) as http:
        refused = whole(http, "a.mp4", 1)
    assert code_of(refused) == FULL
    assert "SHOAL_MIN_FREE_BYTES" in refused.json()["detail"]


def test_an_api_that_keeps_no_uploads(settings: Settings, queue: JobQueue) -> None:
    none = settings.model_copy(update={"max_uploads_bytes": 0})
    with served(none) as url, httpx.Client(base_url=url) as http:
        assert code_of(whole(http, "a.mp4", 1)) == FULL
        assert code_of(in_chunks(http, "a.mp4", 1)) == FULL
