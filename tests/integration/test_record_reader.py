"""Reading jobs for requests: as the queue reads them, with no thread, sharing calls to Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from api.reader import RecordReader
from shoal.errors import JobNotFound, UnreadableRecord
from shoal.model.job import JobSpec
from shoal.model.record import Record
from shoal.model.worker import WorkerInfo
from shoal.queue.forecast import place_of
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests.serving import take

T = TypeVar("T")

THREADS = 40  # that a server has for requests


def add(queue: JobQueue, number: int, **more: Any) -> Record:
    uri = f"gs://videos/{number}.mp4"
    spec = JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="gs://out", **more)
    return queue.submit(spec)[0]


def read(
    settings: Settings, queue: JobQueue, ask: Callable[[RecordReader], Awaitable[T]]
) -> tuple[T, int]:
    """What ``ask`` gives, and how many calls to Redis it took."""

    async def go() -> tuple[T, int]:
        reader = RecordReader(settings, queue)
        calls, execute = [], reader._batcher._handle

        async def counted(commands: Any) -> Any:
            calls.append(commands)
            return await execute(commands)

        reader._batcher._handle = counted
        try:
            return await ask(reader), len(calls)
        finally:
            await reader.close()

    return asyncio.run(go())


def test_it_reads_what_the_queue_reads(settings: Settings, queue: JobQueue) -> None:
    for number in range(3):
        add(queue, number)
    take(queue).succeed({}, {})
    worker = WorkerInfo(name="worker-1", host="h", pid=1, state="idle", started_at=1)
    announce(queue.redis, queue.name, worker, 60)
    records, _ = queue.records.page()

    async def ask(reader: RecordReader) -> None:
        for record in records:
            assert await reader.record(record.id) == record
            assert await reader.place(record) == place_of(queue, record)
            assert await reader.timeline(record.id) == queue.records.timeline(record.id)

    read(settings, queue, ask)


def test_those_who_ask_at_one_time_share_a_call(settings: Settings, queue: JobQueue) -> None:
    records = [add(queue, number) for number in range(50)]

    async def ask(reader: RecordReader) -> list[Record]:
        return await asyncio.gather(*(reader.record(each.id) for each in records))

    found, calls = read(settings, queue, ask)
    assert found == records
    assert calls < 5


def test_what_one_asks_for_is_no_trouble_of_another(settings: Settings, queue: JobQueue) -> None:
    good, bad = add(queue, 1), add(queue, 2)
    queue.redis.delete(queue.records.key(bad.id))
    queue.redis.set(queue.records.key(bad.id), "no hash")

    async def ask(reader: RecordReader) -> list[Any]:
        ids = (good.id, bad.id, "f" * 24, "\ud800", "")
        return await asyncio.gather(*map(reader.record, ids), return_exceptions=True)

    found, _ = read(settings, queue, ask)
    assert found[0] == good
    assert isinstance(found[1], UnreadableRecord)
    assert all(isinstance(each, JobNotFound) for each in found[2:])


def test_a_job_is_shown_while_all_threads_are_taken(
    http: httpx.Client, api_url: str, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, over, taken = add(queue, 1), threading.Event(), threading.Semaphore(0)

    def slow(*_: object) -> list[Any]:
        taken.release()
        over.wait(60)
        return []

    monkeypatch.setattr("api.routes.queue.list_workers", slow)
    asking = [
        threading.Thread(target=httpx.get, args=(f"{api_url}/queue",), kwargs={"timeout": 60})
        for _ in range(THREADS)
    ]
    for each in asking:
        each.start()
    try:
        for _ in asking:
            assert taken.acquire(timeout=60)
        assert http.get(f"/videos/{job.id}", timeout=60).json()["id"] == job.id
        assert http.get(f"/videos/{job.id}/timeline", timeout=60).json()["items"]
    finally:
        over.set()
        for each in asking:
            each.join()


def test_a_spec_is_parsed_once(queue: JobQueue) -> None:
    """One with masks is too large to be kept."""
    small, large = add(queue, 1), add(queue, 2, base="x" * 3000)
    specs = [[queue.records.get(each.id).spec for _ in range(2)] for each in (small, large)]
    assert specs[0][0] is specs[0][1]
    assert specs[1][0] == specs[1][1]
    assert specs[1][0] is not specs[1][1]
