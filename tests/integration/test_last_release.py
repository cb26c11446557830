"""An upgrade: two releases on one Redis, each reads what the other writes.

``tests/fixtures/release-*`` has a Redis as the last release left it, every key with its type, and
the schemas that it read with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shoal.errors import AudioOnly, UnreadableRecord
from shoal.model.delivery import DeliveryState
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import Options, State
from shoal.model.record import VERSION, Progress, text
from shoal.model.worker import WorkerInfo
from shoal.queue import unreadable
from shoal.queue.batches import Batches
from shoal.queue.lease import Lease
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from shoal.queue.tokens import TokenStore
from shoal.queue.workers import announce, list_workers
from shoal.settings import Settings
from tests.integration.test_lost_reply import batch_request
from tests.integration.test_queue import spec
from tests.serving import take
from worker import parent
from worker.protocol import Run

FOLDER = Path(__file__).parents[1] / "fixtures" / "release-0.1"
LAST: dict[str, Any] = json.loads((FOLDER / "redis.json").read_text())
SCHEMAS: dict[str, Any] = json.loads((FOLDER / "schemas.json").read_text())
IDS: dict[str, str] = LAST["names"]


@pytest.fixture
def upgraded(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """The queue on what the last release left."""
    monkeypatch.setattr(unreadable, "_known", {})
    for key, (kind, content) in LAST["keys"].items():
        restore(queue.redis, key, kind, content)
    return queue


def restore(redis: Redis, key: str, kind: str, content: Any) -> None:
    match kind:
        case "hash":
            redis.hset(key, mapping={name: raw(value) for name, value in content.items()})
        case "list":
            redis.rpush(key, *map(raw, content))
        case "set":
            redis.sadd(key, *map(raw, content))
        case "zset":
            redis.zadd(key, {raw(member): score for member, score in content})
        case "stream":
            for entry_id, fields in content:
                redis.xadd(key, fields, id=entry_id)
        case _:
            redis.set(key, raw(content))


def raw(value: str) -> bytes:
    return value.encode("latin-1")


# --- this release reads the last one's ------------------------------------------------------------


def test_all_is_read(upgraded: JobQueue) -> None:
    records, _ = upgraded.records.page(Filter())
    assert {record.id for record in records} == set(IDS.values())
    for name, job_id in IDS.items():
        record = upgraded.records.get(job_id)
        assert record.state == {"preempted": "queued"}.get(name, name)
        assert record.spec.uri == f"s3://bucket/{name}.mp4"
        assert record.version == 0
        assert record.spec.results_prefix == f"s3://out/x/{job_id}/"  # where its results are
        assert upgraded.records.timeline(job_id)
        assert upgraded.records.attempts(job_id) or name in ("queued", "cancelled", "running")
    (batch,) = Batches(upgraded).page(limit=9)[0]
    assert (batch.id, batch.uris, batch.work.name) == (LAST["batch"], 2, "night")
    status = Batches(upgraded).status(batch)
    assert (status.counts[State.SUCCEEDED], status.counts[State.FAILED]) == (1, 1)
    deliveries, _ = upgraded.callbacks.page(state=None, job="", limit=9, cursor="")
    assert {d.state for d in deliveries} == {DeliveryState.PENDING}
    assert len(deliveries) == 2
    assert [worker.name for worker in list_workers(upgraded.redis, "shoal")] == ["worker-1"]
    tokens = TokenStore(upgraded.redis, "shoal")
    assert [token.name for token in tokens.list()] == ["reader"]
    assert upgraded.records.totals.history(since=0)
    assert upgraded.records.totals.read()["frames"] == 10
    assert unreadable.counts() == {}


def test_a_worker_knows_a_job_by_the_id_that_it_has(upgraded: JobQueue) -> None:
    """Ids are hashes, and releases may make them of other things."""
    record = upgraded.records.get(IDS["queued"])
    sent = Run(spec=record.spec, job=record.id, worker="w", attempt=1, model_loads=1, work_dir="/x")
    assert Run.model_validate_json(sent.model_dump_json()).spec.id == record.id


def test_all_goes_on(upgraded: JobQueue) -> None:
    """Every operation on a record of the last release."""
    assert upgraded.prioritise(IDS["queued"], "front").priority == "front"
    assert upgraded.cancel(IDS["running"]).cancel_requested
    running = Lease(upgraded, upgraded.records.get(IDS["running"]))
    assert running.heartbeat(Progress(stage="track", frames=6, frames_expected=10))
    running.cancel()
    taken = take(upgraded, "w")
    assert taken.record.id == IDS["queued"]
    taken.succeed({}, {})
    assert upgraded.retry(IDS["failed"]).state == State.QUEUED
    assert upgraded.retry(IDS["cancelled"]).state == State.QUEUED
    for job_id in (IDS["preempted"], IDS["failed"]):
        lease = take(upgraded, "w")
        assert lease.record.id == job_id
        lease.fail(Failure.of(AudioOnly("no picture")))
    delivery = upgraded.callbacks.due(9)[0]
    assert upgraded.callbacks.replay(delivery.id).attempts == 0
    assert Batches(upgraded).cancel(LAST["batch"]).is_cancelling
    upgraded.forget(IDS["succeeded"])
    assert Reaper(upgraded).sweep() == []
    Maintenance(upgraded, 30).run()
    assert unreadable.counts() == {}


# --- the last release reads this one's ------------------------------------------------------------


def test_the_last_release_reads_what_this_one_writes(queue: JobQueue, redis: Redis) -> None:
    batch = Batches(queue).create(batch_request(["s3://b/1"]))
    options = Options(sample_fps=2, max_frames=9)
    queue.submit(spec().model_copy(update={"options": options}), callback="https://x.example/")
    queue.submit(spec("b.mp4"), batch=batch.id)
    take(queue).heartbeat(Progress(stage="track", frames=1, frames_expected=2))
    take(queue).fail(Failure.of(AudioOnly("no picture")), ["a line"])
    queue.cancel(queue.submit(spec("c.mp4"), callback="https://x.example/")[0].id)
    announce(redis, "shoal", WorkerInfo(name="w", host="h", pid=1, started_at=1.0), 60)
    TokenStore(redis, "shoal").create("n", "read")  # type: ignore[arg-type]
    found: list[tuple[str, Any]] = []
    for key in map(text, redis.keys("shoal:*")):
        found += [(kind, value) for kind, value in documents(redis, key)]
    assert {kind for kind, _ in found} == set(SCHEMAS)
    for kind, value in found:
        assert faults(value, SCHEMAS[kind], SCHEMAS[kind]) == []


def documents(connection: Redis, key: str) -> list[tuple[str, Any]]:
    """What a key holds, as the last release parses it."""
    redis: Any = connection
    _, kind, *more = key.split(":")
    if kind == "job":
        return [("job", hash_of(redis, key))]
    if kind == "worker":
        return [("worker", hash_of(redis, key))]
    if kind == "batch" and len(more) == 1:
        return [("batch", json.loads(redis.get(key)))]
    if kind == "callback":
        return [("callback", json.loads(redis.get(key)))]
    if kind == "attempts":
        return [("attempt", json.loads(each)) for each in redis.lrange(key, 0, -1)]
    if kind == "tokens" and not more:
        return [("token", json.loads(each)) for each in redis.hvals(key)]
    return []


def hash_of(redis: Any, key: str) -> dict[str, Any]:
    return {text(name): decoded(text(value)) for name, value in redis.hgetall(key).items()}


def decoded(value: str) -> Any:
    return json.loads(value) if value[:1] in "{[" and value else value


def faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Where a value does not fit a JSON schema: fields that are missing, or refused as unknown."""
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return min((faults(value, each, root) for each in choices), key=len)
    if isinstance(value, list):
        return [fault for each in value for fault in faults(each, schema.get("items", {}), root)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    known = schema["properties"]
    found = [f"{name} is missing" for name in schema.get("required", ()) if name not in value]
    if schema.get("additionalProperties") is False:
        found += [f"{name} is unknown" for name in value.keys() - known.keys()]
    for name in value.keys() & known.keys():
        found += [f"{name}: {fault}" for fault in faults(value[name], known[name], root)]
    return found


# --- what a later release writes ------------------------------------------------------------------


def test_records_carry_a_version(queue: JobQueue, redis: Redis) -> None:
    job_id = queue.submit(spec())[0].id
    assert int(redis.hget(queue.records.key(job_id), "version") or 0) == VERSION
    assert queue.records.get(job_id).version == VERSION
    batch = Batches(queue).create(batch_request(["s3://b/1"]))
    assert Batches(queue).get(batch.id).version == VERSION


def test_what_a_later_release_wrote_is_left_to_it(
    queue: JobQueue, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job stays in the queue, for its workers."""
    monkeypatch.setattr(parent, "POLL_S", 0.01)
    later, ours = queue.submit(spec("later.mp4"))[0].id, queue.submit(spec())[0].id
    redis.hset(queue.records.key(later), "version", VERSION + 1)
    worker = parent.Parent(settings, queue)
    taken = [worker._take(text(worker._dequeue())) for _ in range(2)]
    assert [lease and lease.record.id for lease in taken] == [None, ours]
    assert queue.rq.get_job_ids() == [later]
    assert [record.id for record in queue.records.page()[0]] == [ours]
    with pytest.raises(UnreadableRecord):
        queue.records.get(later)
    worker.work_dir.close()


def test_a_batch_of_a_later_release_is_left_out(queue: JobQueue, redis: Redis) -> None:
    batches = Batches(queue)
    batch = batches.create(batch_request(["s3://b/1"]))
    value = json.loads(text(redis.get(batches.key(batch.id))))
    redis.set(batches.key(batch.id), json.dumps(value | {"version": VERSION + 1}))
    assert batches.page(limit=9)[0] == []
    with pytest.raises(UnreadableRecord):
        batches.get(batch.id)
