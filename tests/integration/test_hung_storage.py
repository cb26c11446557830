"""A storage that takes connections and never answers: requests end, and the probes do not wait."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from api.storage_calls import THREADS, StorageCalls
from shoal.errors import SourceNotFound, StorageUnavailable
from shoal.model.job import JobSpec, State
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.buckets import forget_clients
from tests.serving import served, take
from tests.threads import wait_for_ours

MANY = 45
DEADLINE_S = 1.0
PATIENCE_S = 30.0  # on a busy machine; the clients themselves wait for minutes


@pytest.fixture
def black_hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The buckets' clients are led to it."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name, value in {
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "STORAGE_EMULATOR_HOST": url,
            "GOOGLE_CLOUD_PROJECT": "test",
            "NO_PROXY": "127.0.0.1",
        }.items():
            monkeypatch.setenv(name, value)
        forget_clients()
        yield
    forget_clients()


def spec(scheme: str, number: int) -> JobSpec:
    uri = f"{scheme}://bucket/{number}.mp4"
    return JobSpec(
        uri=uri, version="1", size=1, prompts=("person",), results=f"{scheme}://bucket/out"
    )


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_requests_end_and_probes_do_not_wait(
    settings: Settings,
    queue: JobQueue,
    black_hole: None,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Submissions, patterns, downloads and cancels at once, more than there are threads."""
    monkeypatch.setattr("api.storage_calls.DEADLINE_S", DEADLINE_S)
    ids = [queue.submit(spec(scheme, number))[0].id for number in range(MANY)]
    for _ in ids:
        lease = take(queue)
        lease.give_back()
        queue.redis.lmove(queue.rq.key, queue.rq.key, "LEFT", "RIGHT")
    done = queue.submit(spec(scheme, MANY))[0]
    queue.prioritise(done.id, "front")
    take(queue).succeed({"x_masks.parquet": 3}, {})

    async def ask(
        http: httpx.AsyncClient, method: str, url: str, **body: object
    ) -> tuple[int, str]:
        answer = await http.request(method, url, **body)  # type: ignore[arg-type]
        return answer.status_code, answer.json().get("code") or answer.json().get("state")

    async def probe(http: httpx.AsyncClient, until: asyncio.Event) -> float:
        slowest = 0.0
        while not until.is_set():
            for url in ("/healthz", "/readyz"):
                at = time.monotonic()
                assert (await http.get(url)).status_code == 200
                slowest = max(slowest, time.monotonic() - at)
            await asyncio.sleep(0.2)
        return slowest

    async def all_at_once(url: str) -> tuple[list[tuple[int, str]], float]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
            over = asyncio.Event()
            probing = asyncio.create_task(probe(http, over))
            video = {"uri": f"{scheme}://bucket/new.mp4", "prompts": ["person"]}
            batch = {"globs": [f"{scheme}://bucket/**"], "prompts": ["person"]}
            answers = await asyncio.gather(
                *(ask(http, "DELETE", f"/videos/{i}") for i in ids),
                *(ask(http, "POST", "/videos", json=video) for _ in range(MANY)),
                *(ask(http, "POST", "/batches", json=batch) for _ in range(3)),
                ask(http, "GET", f"/videos/{done.id}/results/x_masks.parquet"),
            )
            over.set()
            return answers, await probing

    with served(settings) as url:
        at = time.monotonic()
        answers, slowest = asyncio.run(all_at_once(url))
        assert time.monotonic() - at < PATIENCE_S
    assert answers[:MANY] == [(200, "cancelled")] * MANY
    assert answers[MANY:] == [(503, "storage_unavailable")] * (MANY + 4)
    assert slowest < PATIENCE_S / 2
    assert queue.records.counts()[State.CANCELLED] == MANY
    assert queue.redis.zcard(queue.cleanup.key) == MANY + 1, "removed later"


# --- the calls themselves ------------------------------------------------------------------------


def hang(until: threading.Event) -> None:
    until.wait(200)


@pytest.fixture
def calls() -> Iterator[StorageCalls]:
    storage = StorageCalls()
    yield storage
    storage.close()


@pytest.mark.parametrize("way", ["run", "wait"])
def test_each_kind_of_storage_has_its_own_threads(
    monkeypatch: pytest.MonkeyPatch, calls: StorageCalls, way: str
) -> None:
    over = threading.Event()

    async def fill() -> None:
        hung = (calls.run("s3://b/x", hang, over, deadline_s=0.2) for _ in range(2 * THREADS))
        results = await asyncio.gather(*hung, return_exceptions=True)
        assert {type(each) for each in results} == {StorageUnavailable}
        assert await calls.run("gs://b/x", int, "5", deadline_s=PATIENCE_S) == 5

    def ask(uri: str, deadline_s: float = PATIENCE_S) -> object:
        if way == "wait":
            monkeypatch.setattr("api.storage_calls.DEADLINE_S", deadline_s)
            return calls.wait(uri, int, "5")
        return asyncio.run(calls.run(uri, int, "5", deadline_s=deadline_s))

    asyncio.run(fill())
    for uri in ("file:///x", "gs://b/x", "other:x"):
        assert ask(uri) == 5
    with pytest.raises(StorageUnavailable, match="does not answer within"):
        ask("s3://b/y", 0.2)
    over.set()
    assert ask("s3://b/z") == 5  # its threads came back


def test_there_are_no_more_threads_than_that(calls: StorageCalls) -> None:
    before = threading.active_count()

    async def use() -> None:
        for _ in range(5):
            await asyncio.gather(*(calls.run("s3://b", time.sleep, 0.001) for _ in range(100)))

    asyncio.run(use())
    assert threading.active_count() - before <= THREADS


def test_what_a_call_raises_is_raised(calls: StorageCalls) -> None:
    def fail() -> None:
        raise SourceNotFound("none")

    with pytest.raises(SourceNotFound):
        calls.wait("s3://b/x", fail)
    with pytest.raises(SourceNotFound):
        asyncio.run(calls.run("s3://b/x", fail))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_chunks_come_in_order(calls: StorageCalls, count: int) -> None:
    async def read() -> list[bytes]:
        chunks = await calls.stream("s3://b/x", iter([b"%d" % n for n in range(count)]))
        return [chunk async for chunk in chunks]

    assert asyncio.run(read()) == [b"%d" % n for n in range(count)]


def test_the_process_ends_while_a_storage_hangs(calls: StorageCalls) -> None:
    over = threading.Event()
    with pytest.raises(StorageUnavailable):
        asyncio.run(calls.run("s3://b/x", hang, over, deadline_s=0.05))
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "storage")
    over.set()


def test_its_threads_end_with_it() -> None:
    before, calls = set(threading.enumerate()), StorageCalls()
    for uri in ("s3://b/x", "gs://b/x"):
        assert calls.wait(uri, int, "5") == 5
    calls.close()
    assert wait_for_ours(before, timeout_s=20) == []
