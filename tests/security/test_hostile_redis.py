"""What lies in Redis may be anything: it is left out and counted, and all else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from api.background.batch_runner import BatchRunner
from shoal.errors import LeaseLost, UnreadableRecord
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchRequest, BatchState
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import Progress, Record, now
from shoal.model.worker import WorkerInfo
from shoal.queue import unreadable
from shoal.queue.batches import Batches
from shoal.queue.lease import Lease
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from shoal.queue.stats import Sample
from shoal.queue.workers import announce, list_workers
from shoal.settings import Settings
from tests import conftest
from tests.security.conftest import Patient
from tests.security.data import ended_job, spec
from tests.serving import served, take
from worker.parent import Parent

# An empty queue for each test and short leases, in place of what this folder shares by module.
settings, redis, queue = conftest.settings, conftest.redis, conftest.queue

VALUES = [
    b"", b"x", b"-1", b"nan", b"inf", b"-inf", b"1e308", b"9" * 5000, b"1e20", b"\xff\xfe", b"\x00",
    b"{}", b"[]", b"null", b"0", b'"x"', b"[" * 5000, b'{"a":' * 3000, b'"\\ud800"', b"NaN",
    b'{"uri":"\\ud800"}', b'{"code":1}', b'{"objects_detected":"many"}', b'{"duration_s":1e999}',
    b'{"objects_per_prompt":[]}', b'{"fps":"x"}', b'{"a":-1}', b'{"a":1e400}', b"[1,2]", b"true",
]  # fmt: skip
LISTS = [b"", b"x", b"[]", b"[1]", b'[1,"started",{}]', b'[1,"part",{"number":"x"}]', b"\xff",
         b'[1e300,"x",{}]', b'["a","b","c"]', b'[1,"resumed",{"part":[]}]', b'[1,"failure",[]]',
         b'[1,"started",{"attempt":{},"worker":[]}]', b"{}", b'[-1,"x",{}]']  # fmt: skip
PAGES = [
    "/videos", "/videos?state=queued", "/videos?text=matches", "/batches", "/callbacks", "/queue",
    "/metrics", "/events/skipped", "/scaling", "/health", "/readyz", "/ui", "/ui/videos",
    "/ui/videos?text=matches", "/ui/batches", "/ui/callbacks", "/ui/skipped", "/ui/new", "/engines",
]  # fmt: skip
FIELDS = sorted({*Record.model_fields, "another"})


@pytest.fixture
def on(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"callback_secret": (SecretStr("whsec_" + "QUJDRA" * 6),), "lease_s": 3600.0}
    )


@pytest.fixture
def http(on: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    with served(on) as url, Patient(url) as client:
        yield client


@pytest.fixture
def job(queue: JobQueue) -> Record:
    """The one that is spoilt; a sound one lies beside it."""
    queue.submit(spec("sound"))
    return queue.submit(spec("spoilt"), callback="http://public.example/")[0]


def all_answer(http: httpx.Client, *more: str) -> None:
    for page in (*PAGES, *more):
        assert http.get(page).status_code < 500, page


def of_job(job_id: str) -> list[str]:
    return [
        each + job_id + rest
        for each in ("/videos/", "/ui/videos/")
        for rest in ("", "/timeline", "/attempts", "/results", "/parts", "/parts/1")
    ]


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_record_takes_a_page_down(
    http: httpx.Client, queue: JobQueue, field: str
) -> None:
    sound = queue.submit(spec("sound"))[0].id
    spoilt = [
        queue.submit(spec(f"{n}"), callback="http://a.example/")[0].id for n in range(len(VALUES))
    ]
    for job_id, value in zip(spoilt, VALUES, strict=True):
        queue.redis.hset(queue.records.key(job_id), field, value)
    all_answer(http, *(f"/{page}{i}" for i in spoilt for page in ("videos/", "ui/videos/")))
    assert sound in {each["id"] for each in http.get("/videos").json()["items"]}


def test_a_record_that_is_no_hash_is_left_out(
    http: httpx.Client, queue: JobQueue, job: Record
) -> None:
    queue.redis.set(queue.records.key(job.id), "x")
    all_answer(http, *of_job(job.id))
    with pytest.raises(UnreadableRecord):
        queue.submit(spec("spoilt"))
    assert queue.submit(spec("another"))[1]


def test_what_is_left_out_is_counted_once(
    http: httpx.Client, queue: JobQueue, job: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unreadable, "_known", {})
    queue.redis.hset(queue.records.key(job.id), "state", "lost")
    for _ in range(3):
        assert len(http.get("/videos").json()["items"]) == 1
    assert 'shoal_unreadable{kind="job"} 1.0' in http.get("/metrics").text
    answer = http.get(f"/videos/{job.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "unreadable_record")


def test_lists_of_a_job_are_read_as_far_as_they_can_be(
    http: httpx.Client, queue: JobQueue, job: Record
) -> None:
    for entry in (*LISTS, *VALUES):
        queue.redis.rpush(queue.records.timeline_key(job.id), entry)
        queue.redis.rpush(queue.records.attempts_key(job.id), entry)
    all_answer(http, *of_job(job.id))
    assert http.get(f"/videos/{job.id}/timeline").json()["items"][0]["event"] == "queued"


def test_workers_callbacks_batches_and_sums_are_read_as_far_as_they_can_be(
    http: httpx.Client, queue: JobQueue, job: Record
) -> None:
    batch = Batches(queue).create(BatchRequest(uris=["file:///x"], prompts=["car"]))
    sound = Batches(queue).create(BatchRequest(uris=["file:///y"], prompts=["car"]))
    delivery = _delivery(queue)
    info = WorkerInfo(name="spoilt", host="h", pid=1, started_at=now(), beat_at=now())
    for number, value in enumerate(VALUES):
        announce(queue.redis, queue.name, info, 3600)
        for field in WorkerInfo.model_fields:
            queue.redis.hset(f"{queue.name}:worker:spoilt", field, value)
            list_workers(queue.redis, queue.name)
        queue.redis.hset(f"{queue.name}:totals", f"seconds:{number}", value)
        queue.redis.hset(f"{queue.name}:batch:{sound.id}:totals", f"seconds:{number}", value)
        queue.redis.hset(f"{queue.name}:skipped:counts", f"reason {number}", value)
        queue.redis.hset(f"{queue.name}:tokens", f"name {number}", value)
        queue.redis.lpush(f"{queue.name}:skipped:last", value)
        queue.redis.lpush(Batches(queue).key(sound.id, "skips"), value)
        queue.redis.xadd(f"{queue.name}:history", {"queued": value})
        queue.redis.xadd(f"{queue.name}:scaling:decisions", {"decision": value})
        queue.redis.set(f"{queue.name}:scaling", value)
        queue.redis.set(f"{queue.name}:scaling:cap", value)
        queue.redis.set(Batches(queue).key(batch.id), value)
        queue.redis.set(queue.callbacks.key(delivery), value)
        all_answer(
            http,
            f"/batches/{batch.id}",
            f"/ui/batches/{batch.id}",
            f"/batches/{sound.id}",
            f"/batches/{sound.id}/skipped",
            f"/ui/batches/{sound.id}",
            f"/callbacks/{delivery}",
            "/tokens",
        )
        assert [each["id"] for each in http.get("/batches").json()["items"]] == [sound.id]


def _delivery(queue: JobQueue) -> str:
    """Due or not: an API may have it in hand."""
    ended_job(queue, callback="http://public.example/")
    (delivery, *_), _ = queue.callbacks.page(state=None, job="", limit=1, cursor="")
    return delivery.id


def test_any_body_of_a_callback_is_shown(http: httpx.Client, queue: JobQueue) -> None:
    delivery = queue.callbacks.get(_delivery(queue))
    for value in VALUES:
        changed = delivery.model_copy(update={"body": value.decode(errors="replace")})
        queue.redis.set(queue.callbacks.key(delivery.id), changed.model_dump_json())
        assert http.get("/ui/callbacks").status_code == 200


def test_one_callback_that_cannot_be_read_holds_up_no_other(queue: JobQueue) -> None:
    queue.redis.set(queue.callbacks.key("msg_0"), b"{")
    queue.redis.zadd(queue.callbacks.due_key, {"msg_0": 0})
    good = _delivery(queue)
    queue.redis.zadd(queue.callbacks.due_key, {"msg_0": 0})
    assert [each.id for each in queue.callbacks.due(10)] == [good]
    assert queue.redis.zscore(queue.callbacks.due_key, "msg_0") is None


def test_one_batch_that_cannot_be_read_holds_up_no_other(
    queue: JobQueue, settings: Settings
) -> None:
    batches = Batches(queue)
    spoilt, good = (
        batches.create(BatchRequest(uris=[f"file:///{n}"], prompts=["car"])) for n in "ab"
    )
    queue.redis.set(batches.key(spoilt.id), b"{")
    runner = BatchRunner(queue, RulesFile(settings), settings)
    for _ in range(3):
        runner.round()
    assert batches.status(batches.get(good.id)).state == BatchState.FINISHED
    assert batches.open() == []


# --- the reaper, the maintenance and the workers --------------------------------------------------

Spoil = Callable[[JobQueue, str], Any]
SPOILT: dict[str, Spoil] = {
    "no number": lambda queue, i: queue.redis.hset(queue.records.key(i), "attempt", "x"),
    "no spec": lambda queue, i: queue.redis.hset(queue.records.key(i), "spec", "{"),
    "no time": lambda queue, i: queue.redis.hset(queue.records.key(i), "created_at", "1e300"),
    "no hash": lambda queue, i: queue.redis.set(queue.records.key(i), "x"),
    "bytes": lambda queue, i: queue.redis.hset(queue.records.key(i), b"\xff", b"\xff"),
}


@pytest.fixture(params=SPOILT)
def spoil(request: pytest.FixtureRequest) -> Spoil:
    return SPOILT[request.param]


def readable_again(queue: JobQueue, job_id: str) -> bool:
    try:
        return queue.records.find(job_id) is not None
    except UnreadableRecord:
        return False


def test_the_reaper_goes_on_past_a_job_that_cannot_be_read(queue: JobQueue, spoil: Spoil) -> None:
    ids = []
    for name in "ab":
        queue.submit(spec(name))
        ids.append(take(queue).record.id)
    queue.redis.zadd(queue.leases_key, dict.fromkeys(ids, 1))
    spoil(queue, ids[0])
    revived = Reaper(queue).sweep()
    assert ids[1] in revived
    assert (ids[0] in revived) is readable_again(queue, ids[0])
    # Another release may be able to read it, and revives it then.
    assert queue.redis.zcard(queue.leases_key) == (not readable_again(queue, ids[0]))
    assert Reaper(queue).sweep() == []


def test_old_jobs_are_forgotten_past_one_that_cannot_be_read(queue: JobQueue, spoil: Spoil) -> None:
    ids = [queue.cancel(queue.submit(spec(name))[0].id).id for name in "ab"]
    for job_id in ids:
        queue.redis.zadd(queue.records.indexes.key("ended"), {job_id: 1})
    spoil(queue, ids[0])
    Maintenance(queue, retention_days=1).run()
    assert queue.redis.zcard(queue.records.indexes.key("ended")) == 0
    assert not any(queue.redis.exists(queue.records.key(job_id)) for job_id in ids)


def test_a_sample_of_before_that_cannot_be_read_is_left_out(queue: JobQueue) -> None:
    queue.redis.xadd(f"{queue.name}:history", {"queued": "x"}, id="60000-1")
    sample = Sample(
        at=120, queued=1, running=0, oldest_queued_s=0, workers=0, succeeded=0, failed=0, frames=0
    )
    queue.records.totals.record(sample)
    assert queue.records.totals.history(0) == [sample]


def test_an_attempt_whose_record_is_spoilt_has_lost_its_job(queue: JobQueue) -> None:
    for name in "abcd":
        queue.submit(spec(name))
    ends: list[Callable[[Lease], Any]] = [
        lambda lease: lease.heartbeat(Progress()),
        lambda lease: lease.succeed({}, {}),
        lambda lease: lease.fail(Failure(code="x", message="", hint="", transient=False)),
        lambda lease: lease.give_back(),
    ]
    for end in ends:
        lease = take(queue)
        queue.redis.hset(queue.records.key(lease.record.id), "attempt", "x")
        with pytest.raises(LeaseLost):
            end(lease)


def test_counts_are_of_what_the_indexes_have(queue: JobQueue, job: Record) -> None:
    queue.redis.hset(queue.records.key(job.id), "state", "lost")
    queue.redis.lpush(queue.rq.key, job.id)  # the first in line
    assert queue.depth().jobs[State.QUEUED] == 2


def test_a_worker_goes_past_a_job_that_cannot_be_read(
    queue: JobQueue, settings: Settings, spoil: Spoil
) -> None:
    job_id = queue.submit(spec("a"))[0].id
    spoil(queue, job_id)
    if readable_again(queue, job_id):  # a field that nobody knows spoils nothing
        queue.redis.hset(queue.records.key(job_id), "attempt", "x")
    queue.redis.rpush(queue.rq.key, b"\xff\xfe")
    parent = Parent(settings, queue)
    taken = parent._dequeue()
    assert taken == job_id
    parent._attempt(taken)
    assert parent._dequeue() is None  # what is no text is no job
    parent.work_dir.close()
    assert queue.redis.llen(queue.rq.intermediate_queue_key) == 0
    assert queue.redis.exists(queue.records.key(job_id))
