"""``/rq``: what is planted in Redis is shown as text or not at all, and nothing there changes."""

from __future__ import annotations

import json
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from redis import Redis

from shoal.errors import AudioOnly
from shoal.model.failure import Failure
from shoal.model.job import JobSpec
from shoal.queue.queue import JobQueue
from shoal.queue.rq_tables import JSONS, MAX_TEXT_CHARS, TEXTS, WORKER, RQTables, Table
from tests.serving import take
from worker.rq_mirror import RQMirror

JOB = "0123456789abcdef01234567"
SCRIPT = "</script><script>alert(1)</script>"
HTML = {"Accept": "text/html"}


class Payload:
    """Unpickled anywhere, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def deep(depth: int = 100_000) -> bytes:
    return b"[" * depth + b"]" * depth


def bomb() -> bytes:
    return zlib.compress(b'["' + b"a" * 100_000_000 + b'"]', 9)


VALUES: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda mark: pickle.dumps(Payload(mark)),
    "packed pickle": lambda mark: zlib.compress(pickle.dumps(Payload(mark))),
    "old pickle": lambda mark: pickle.dumps(Payload(mark), 0),
    "script": lambda mark: SCRIPT.encode(),
    "packed script": lambda mark: zlib.compress(json.dumps(SCRIPT).encode()),
    "bomb": lambda mark: bomb(),
    "bomb of numbers": lambda mark: zlib.compress(b"9" * 50_000),
    "deep": lambda mark: deep(5000),
    "packed deep": lambda mark: zlib.compress(deep()),
    "huge": lambda mark: b"x" * 5_000_000,
    "bytes": lambda mark: bytes(range(256)),
    "surrogate": lambda mark: b'"\\ud800"',
    "empty": lambda mark: b"",
}
FIELDS = (*TEXTS, *JSONS, "exc_info", "group_id", "dependency_ids", "success_callback_name")

ADDRESSES = ["/rq", f"/rq/jobs/{JOB}", *(f"/rq/{table}" for table in Table)]


@pytest.fixture(autouse=True)
def empty(redis: Redis) -> None:
    redis.flushall()


def everything(redis: Redis, pattern: str = "rq:*") -> dict[bytes, tuple[bytes | None, bool]]:
    """All keys with their content, and whether they expire."""
    return {
        key: (redis.dump(key), redis.pttl(key) > 0)
        for key in sorted(redis.scan_iter(pattern, count=1000))
    }


def look_at_all(local: httpx.Client) -> dict[str, str]:
    """Each page, and what its live stream sends first."""
    shown = {}
    for address in ADDRESSES:
        answer = local.get(address, headers=HTML)
        assert answer.status_code == 200, address
        assert len(answer.content) < 10 * MAX_TEXT_CHARS, address
        assert "<script>alert" not in answer.text, address
        assert "nonce" not in answer.headers["Content-Security-Policy"]
        assert answer.text.count("<script") == answer.text.count('<script type="module" src="/')
        shown[address] = answer.text
    with local.stream("GET", "/live/rq") as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data"))
    assert "<script>alert" not in first
    return shown


@pytest.mark.parametrize("kind", VALUES)
def test_what_is_planted_in_every_field_is_text_or_not_readable(
    local: httpx.Client, queue: JobQueue, redis: Redis, tmp_path: Path, kind: str
) -> None:
    mark = tmp_path / "it-ran"
    value = VALUES[kind](mark)
    name = f"rq:worker:{SCRIPT}"
    job_fields: Any = dict.fromkeys(FIELDS, value) | {"status": "queued"}
    redis.hset(f"rq:job:{JOB}", mapping=job_fields)
    worker_fields: Any = dict.fromkeys((*WORKER, "queues", "name"), value) | {"state": "busy"}
    redis.hset(name, mapping=worker_fields)
    redis.sadd("rq:workers", name)
    redis.sadd(f"rq:workers:{queue.name}", name, "rq:worker:gone", value)
    entries: list[Any] = [JOB, f"{JOB}:{'0' * 32}", value, SCRIPT]
    for table in Table:
        for entry in entries:
            if table.is_list:
                redis.rpush(table.key(queue.name), entry)
            else:
                redis.zadd(table.key(queue.name), {entry: 1})
    before = everything(redis)
    shown = look_at_all(local)
    assert everything(redis) == before
    assert not mark.exists()
    job = shown[f"/rq/jobs/{JOB}"]
    if "pickle" in kind or kind in ("bomb", "huge", "bytes", "packed deep"):
        assert job.count("not readable") >= len(JSONS) - 1, kind  # 'data' may be plain
    assert "\x1b" not in job


def test_the_payload_would_run(tmp_path: Path) -> None:
    """The test above would be worth nothing with one that does not."""
    mark = tmp_path / "it-ran"
    pickle.loads(VALUES["pickle"](mark))
    assert mark.exists()


SCORES = ["inf", "-inf", "1e308", "-1", "0", "4e9"]


@pytest.mark.parametrize("score", SCORES)
def test_any_score_is_shown(local: httpx.Client, queue: JobQueue, redis: Redis, score: str) -> None:
    for table in Table:
        if not table.is_list:
            redis.zadd(table.key(queue.name), {JOB: float(score)})
    redis.hset(f"rq:job:{JOB}", "status", "queued")
    look_at_all(local)


def test_keys_that_hold_something_else_are_not_readable(
    local: httpx.Client, queue: JobQueue, redis: Redis
) -> None:
    for table in Table:
        redis.set(table.key(queue.name), SCRIPT)
    redis.set(f"rq:workers:{queue.name}", SCRIPT)
    redis.set(f"rq:job:{JOB}", SCRIPT)
    assert local.get("/rq").text.count("not readable") == len(Table)
    assert "something else" in local.get("/rq/failed").text
    assert local.get(f"/rq/jobs/{JOB}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/rq/0/view/jobs/';alert(1)//queued/8/asc/1",
        f"/rq/0/view/jobs/{SCRIPT}/queued/8/asc/1",
        f"/rq/0/view/job/{JOB}",
        "/rq/0/data/queues.json",
        "/rq/jobs/" + "A" * 24,
        "/rq/jobs/../../x",
        f"/rq/{SCRIPT}",
        "/rq/other-queue",
        "/rq/queued?start=-1",
        "/rq/queued?start=1e9",
        "/rq/static/x",
    ],
)
def test_there_is_no_other_queue_and_no_other_page(local: httpx.Client, path: str) -> None:
    answer = local.get(path, headers=HTML)
    assert answer.status_code in (404, 422)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if answer.headers["Content-Type"].startswith("text/html"):
        assert "<script>alert" not in answer.text
    assert "nonce" not in answer.headers.get("Content-Security-Policy", "")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [*ADDRESSES, f"/rq/job/{JOB}/delete", "/rq/queue/secure/compact"])
def test_it_changes_nothing(local: httpx.Client, method: str, path: str) -> None:
    assert local.request(method, path).status_code in (404, 405)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(st.sampled_from(FIELDS), st.binary(max_size=200), min_size=1))
def test_any_bytes_can_be_read(redis: Redis, queue: JobQueue, fields: dict[Any, Any]) -> None:
    key = f"rq:job:{JOB}"
    redis.delete(key)
    redis.hset(key, mapping=fields)
    job = RQTables(redis, queue.name).job(JOB)
    if job:
        for text in (*job.texts.values(), *filter(None, job.values.values())):
            assert re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]*", text)


# --- and what it is there for -----------------------------------------------------------------


@pytest.fixture
def jobs(queue: JobQueue) -> list[str]:
    """Four queued ones."""
    made = (
        JobSpec(uri=f"s3://b/match-{n}.mp4", version="1", size=1, prompts=("x",), results="s3://r")
        for n in range(4)
    )
    return [queue.submit(spec)[0].id for spec in made]


def rows(page: str) -> dict[str, str]:
    """The table of tables: what each row says."""
    found = re.findall(r'href="/rq/(\w+)">\w+</a></td>(.*?)</tr>', page, re.DOTALL)
    return {name: re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cells)) for name, cells in found}


def test_tables_workers_and_our_own_counts_stand_side_by_side(
    local: httpx.Client, queue: JobQueue, jobs: list[str], redis: Redis
) -> None:
    take(queue).succeed({}, {})
    take(queue).fail(Failure.of(AudioOnly("no <b>picture</b>")))
    lease = take(queue, "gpu-1")
    mirror = RQMirror(queue, "gpu-1", beat_s=1)
    mirror.appear()
    mirror.start(lease.record.id)
    before = everything(redis)
    page = local.get("/rq").text
    found = rows(page)
    assert re.search(r"\b0\b.*\b1 succeeded", found["finished"])
    assert re.search(r"\b1\b.*\b1 failed", found["failed"])
    assert re.search(r"\b1\b.*\b1 running", found["started"])
    assert re.search(r"\b1\b.*\b1 queued", found["queued"])
    assert "gpu-1" in page
    assert f"/rq/jobs/{jobs[2]}" in page
    for table, job_id in zip(
        ("queued", "started", "failed"), (jobs[3], jobs[2], jobs[1]), strict=True
    ):
        listed = local.get(f"/rq/{table}").text
        assert re.findall(r'href="/rq/jobs/(\w+)"', listed) == [job_id]
    assert "/ui/videos?state=succeeded" in local.get("/rq/finished").text
    queued = local.get(f"/rq/jobs/{jobs[3]}").text
    assert "worker.parent.process_video" in queued
    assert "match-3.mp4" in queued
    done = local.get(f"/rq/jobs/{jobs[0]}").text
    assert "succeeded" in done
    assert "RQ has no entry" in done
    assert everything(redis) == before


def test_a_long_table_has_pages(local: httpx.Client, queue: JobQueue, redis: Redis) -> None:
    redis.rpush(Table.QUEUED.key(queue.name), *(f"{n:024x}" for n in range(120)))
    address, seen = "/rq/queued", list[str]()
    while address:
        page = local.get(address).text
        seen += re.findall(r'href="/rq/jobs/(\w+)"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        address = following[1] if following else ""
    assert seen == [f"{n:024x}" for n in range(120)]
