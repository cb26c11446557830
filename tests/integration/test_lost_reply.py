"""A reply that is lost: whatever the caller does next, nothing is written twice.

Each operation of the store runs once with all replies, and once for every reply that may be lost;
callers repeat what ended in an outage. What Redis holds in the end is the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from api.background.batch_runner import BatchRunner
from api.background.reconcile import ReconcileThread
from api.events.inbox import SkippedLog
from shoal.errors import LeaseLost, NotAVideo, RedisUnavailable, StateConflict, StorageUnavailable
from shoal.ingest.decide import Reason, Skip
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchRequest
from shoal.model.delivery import Try
from shoal.model.failure import Failure
from shoal.model.job import JobSpec
from shoal.model.record import Progress, text
from shoal.model.scaling import ScalingDecision
from shoal.model.token import Scope
from shoal.model.worker import WorkerInfo
from shoal.queue import scaling
from shoal.queue.batches import Batches
from shoal.queue.connection import redis_errors
from shoal.queue.lease import Lease
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue, open_queue
from shoal.queue.reaper import Reaper
from shoal.queue.sessions import SessionStore
from shoal.queue.tokens import TokenStore
from shoal.queue.workers import announce, ask_to_drain, withdraw
from shoal.settings import Settings
from tests.lossy import Losses, lossy
from tests.serving import take, write_video

URL = "https://example.com/hook"
TRANSIENT = Failure.of(StorageUnavailable("no answer"))
PERMANENT = Failure.of(NotAVideo("not a video"))
WORKER = WorkerInfo(name="w", host="h", pid=1, started_at=1.0)


@dataclass
class Store:
    """What an operation works with. The queue loses replies, ``calm`` does not."""

    queue: JobQueue
    calm: JobQueue
    settings: Settings
    state: dict[str, Any]

    @property
    def redis(self) -> Redis:
        return self.queue.redis

    @property
    def lease(self) -> Lease:
        return Lease(self.queue, self.state["lease"].record)


def spec(name: str = "a.mp4") -> JobSpec:
    uri = f"file:///videos/{name}"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


def batch_request(uris: list[str]) -> BatchRequest:
    return BatchRequest.model_validate({"prompts": ["person"], "uris": uris})


# --- what there is before an operation ----------------------------------------------------------


def nothing(store: Store) -> None:
    pass


def submitted(store: Store) -> None:
    store.calm.submit(spec("other.mp4"))
    store.state["id"] = store.calm.submit(spec(), callback=URL)[0].id


def dequeued(store: Store) -> None:
    store.state["id"] = store.calm.submit(spec(), callback=URL)[0].id
    store.calm.submit(spec("other.mp4"))
    store.calm.redis.lmove(store.calm.rq.key, store.calm.rq.intermediate_queue_key)


def running(store: Store) -> None:
    dequeued(store)
    store.state["lease"] = Lease.take(store.calm, store.state["id"], "w")


def lapsed(store: Store) -> None:
    running(store)
    store.calm.redis.zadd(store.calm.leases_key, {store.state["id"]: 1.0})


def failed(store: Store) -> None:
    running(store)
    store.state["lease"].fail(PERMANENT)


def succeeded(store: Store) -> None:
    running(store)
    store.state["lease"].succeed({"a": 1}, {"frames_processed": 3})
    store.state["delivery"] = store.calm.callbacks.due(1)[0]


def video(store: Store, name: str) -> str:
    """The URI of a file that is the same each time."""
    path = store.settings.data_dir / name
    if not path.exists():
        write_video(store.settings, name)
        os.utime(path, (1_700_000_000, 1_700_000_000))  # not one that may still be written
    return path.as_uri()


def batch(store: Store) -> None:
    uris = [video(store, f"{number}.mp4") for number in range(3)]
    store.state["batch"] = Batches(store.calm).create(batch_request(uris)).id


def globbed(store: Store) -> None:
    video(store, "in/1.mp4")
    glob = (store.settings.data_dir / "in").as_uri() + "/*.mp4"
    request = BatchRequest.model_validate({"prompts": ["person"], "globs": [glob]})
    store.state["batch"] = Batches(store.calm).create(request).id


def expanded(store: Store) -> None:
    batch(store)
    expand(store, store.calm)


def asked_to_cancel(store: Store) -> None:
    expanded(store)
    Batches(store.calm).cancel(store.state["batch"])


def half_failed(store: Store) -> None:
    expanded(store)
    take(store.calm).fail(PERMANENT)
    Batches(store.calm).retry(store.state["batch"])


# --- operations ----------------------------------------------------------------------------------


def expand(store: Store, queue: JobQueue) -> None:
    runner = store.state.setdefault(
        f"runner of {id(queue)}", BatchRunner(queue, RulesFile(store.settings), store.settings)
    )
    for key in store.calm.redis.keys("*:lock"):  # taken, and nobody knows: it has lapsed by now
        store.calm.redis.delete(key)
    for _ in range(4):
        runner.round()


def stranded(store: Store) -> None:
    reaper = Reaper(store.queue)
    reaper._in_transit = {store.state["id"]: -1e9}
    reaper.sweep()


def sweep(store: Store) -> None:
    rules = store.settings.data_dir / "rules.toml"
    folder = (store.settings.data_dir / "in").as_uri()
    rules.write_text(
        f'[[rule]]\nbucket = "{folder}"\nprompts = ["dog"]\nresults = "{folder}-out"\n'
    )
    settings = store.settings.model_copy(update={"rules": rules, "sweep_s": 900.0})
    thread = store.state.setdefault(
        "sweep", ReconcileThread(store.queue, RulesFile(settings), settings)
    )
    thread.round()


def settled(store: Store, **outcome: Any) -> Callable[[], object]:
    attempt = Try(at=5.0, seconds=1.0, status=outcome.pop("status", 500))
    return lambda: store.queue.callbacks.failed(store.state["delivery"], attempt, **outcome)


def told(store: Store) -> None:
    SkippedLog(store.redis, "shoal").note(
        "s3", [Skip("s3://b/a", Reason.GONE), Skip("x", Reason.CHANGING)]
    )


def decision() -> ScalingDecision:
    return ScalingDecision(at=1.0, action="hold", reason="")


Operation = tuple[Callable[[Store], Any], Callable[[Store], Any]]
OPERATIONS: dict[str, Operation] = {
    "submit": (nothing, lambda s: s.queue.submit(spec(), callback=URL)),
    "submit many": (nothing, lambda s: s.queue.submit_new([spec(), spec("b.mp4")], batch="b")),
    "submit again": (failed, lambda s: s.queue.submit(spec(), callback=URL + "/2", batch="b")),
    "submit known": (submitted, lambda s: s.queue.submit(spec(), callback=URL + "/2")),
    "submit done": (succeeded, lambda s: s.queue.submit(spec(), callback=URL + "/2")),
    "retry": (failed, lambda s: s.queue.retry(s.state["id"])),
    "to the front": (submitted, lambda s: s.queue.prioritise(s.state["id"], "front")),
    "cancel what waits": (submitted, lambda s: s.queue.cancel(s.state["id"])),
    "cancel what runs": (running, lambda s: s.queue.cancel(s.state["id"])),
    "forget": (succeeded, lambda s: s.queue.forget(s.state["id"])),
    "pause": (nothing, lambda s: s.queue.pause()),
    "set aside": (dequeued, lambda s: s.queue.set_aside(s.state["id"])),
    "untake": (dequeued, lambda s: s.queue.untake(s.state["id"])),
    "take": (dequeued, lambda s: Lease.take(s.queue, s.state["id"], "w")),
    "heartbeat": (
        running,
        lambda s: s.lease.heartbeat(Progress(stage="track", frames=3, frames_expected=10)),
    ),
    "part": (running, lambda s: s.lease.check()),
    "succeed": (running, lambda s: s.lease.succeed({"a": 1}, {"frames_processed": 3})),
    "fail": (running, lambda s: s.lease.fail(PERMANENT)),
    "fail for now": (running, lambda s: s.lease.fail(TRANSIENT)),
    "stop": (running, lambda s: s.lease.cancel()),
    "give back": (running, lambda s: s.lease.give_back()),
    "reap": (lapsed, lambda s: Reaper(s.queue).sweep()),
    "reap what is stranded": (dequeued, stranded),
    "create batch": (
        nothing,
        lambda s: Batches(s.queue).create(batch_request(["s3://b/a", "s3://b/b"])),
    ),
    "expand URIs": (batch, lambda s: expand(s, s.queue)),
    "expand globs": (globbed, lambda s: expand(s, s.queue)),
    "cancel batch": (expanded, lambda s: Batches(s.queue).cancel(s.state["batch"])),
    "cancel jobs of batch": (asked_to_cancel, lambda s: expand(s, s.queue)),
    "retry jobs of batch": (half_failed, lambda s: expand(s, s.queue)),
    "sweep": (globbed, sweep),
    "delivered": (
        succeeded,
        lambda s: s.queue.callbacks.delivered(
            s.state["delivery"], Try(at=5.0, seconds=1.0, status=200)
        ),
    ),
    "not delivered": (succeeded, lambda s: settled(s)()),
    "given up": (succeeded, lambda s: settled(s, final=True)()),
    "disabled": (
        succeeded,
        lambda s: s.queue.callbacks.disabled(
            s.state["delivery"], Try(at=5.0, seconds=1.0, status=410)
        ),
    ),
    "claim": (succeeded, lambda s: s.queue.callbacks.claim(s.state["delivery"])),
    "replay": (succeeded, lambda s: s.queue.callbacks.replay(s.state["delivery"].id)),
    "skipped": (nothing, told),
    "token": (nothing, lambda s: TokenStore(s.redis, "shoal").create("me", Scope.READ)),
    "sample": (succeeded, lambda s: Maintenance(s.queue, 0).run()),
    "announce": (nothing, lambda s: announce(s.redis, "shoal", WORKER, 60)),
    "withdraw": (
        lambda s: announce(s.calm.redis, "shoal", WORKER, 60),
        lambda s: withdraw(s.redis, "shoal", "w"),
    ),
    "drain": (
        lambda s: announce(s.calm.redis, "shoal", WORKER, 60),
        lambda s: ask_to_drain(s.redis, "shoal", "w"),
    ),
    "session": (
        lambda s: s.state.update(id=SessionStore(s.calm.redis, "shoal").begin("d")),
        lambda s: SessionStore(s.redis, "shoal").find("d"),
    ),
    "cap": (nothing, lambda s: scaling.set_cap(s.redis, "shoal", 3)),
}


@pytest.fixture(scope="module")
def losses() -> Losses:
    return Losses()


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_written_twice(
    name: str,
    settings: Settings,
    queue: JobQueue,
    losses: Losses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shoal.queue.maintenance.MINUTE_S", 1e9)  # no other one begins meanwhile
    before, operation = OPERATIONS[name]
    wanted, replies = outcome(before, operation, settings, queue, losses, lose=None)
    for lost in range(replies):
        found, _ = outcome(before, operation, settings, queue, losses, lose=lost)
        assert found == wanted, f"reply {lost} of {replies} was lost"


def outcome(
    before: Callable[[Store], Any],
    operation: Callable[[Store], Any],
    settings: Settings,
    calm: JobQueue,
    losses: Losses,
    lose: int | None,
) -> tuple[list[Any], int]:
    """What Redis holds after an operation, and how many replies it took."""
    calm.redis.flushall()
    losses.disarm()
    redis = lossy(settings.redis_url, losses)
    store = Store(open_queue(settings, redis), calm, settings, {})
    before(store)
    losses.arm(lose)
    try:
        repeated(lambda: operation(store))
    finally:
        losses.disarm()
        redis.connection_pool.disconnect()
    return snapshot(calm.redis), losses.replies


def repeated(operation: Callable[[], Any]) -> None:
    """As callers do: until Redis answers; what the first time has done is known the second time."""
    for _ in range(3):
        try:
            with redis_errors():
                operation()
            return
        except RedisUnavailable:
            continue
        except (LeaseLost, StateConflict):
            return
    raise AssertionError("one reply was lost, and it failed three times")


HIDDEN = ("lock", "sweep", "noted", "runner")  # held for a while, by whom that is random
VARYING = (  # times, ids that are drawn, seconds and dollars
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "T"),
    (re.compile(r"\b1[789]\d{8}(\.\d+)?\b"), "T"),
    (re.compile(r"\b1[789]\d{11}(-\d+)?\b"), "T"),
    (re.compile(r"[0-9a-f]{24,64}"), "ID"),
    (re.compile(r"shoal_[\w-]{43}"), "SECRET"),
    (re.compile(r"\b\d+\.\d+(e-\d+)?\b"), "F"),
)


def snapshot(redis: Redis) -> list[Any]:
    """All keys with what they hold, without what differs from run to run."""
    raw: Any = redis.keys("*")
    keys = [key for key in map(text, raw) if not any(word in key for word in HIDDEN)]
    return sorted(((plain(key), content(redis, key)) for key in keys), key=repr)


def content(connection: Redis, key: str) -> Any:
    redis: Any = connection  # whose answers are typed for every protocol
    kind = redis.type(key)
    if kind == b"hash":
        seconds = key.endswith("totals")
        fields = redis.hgetall(key).items()
        return sorted(
            (plain(name), "F" if seconds and b":" in name and is_time(name) else plain(value))
            for name, value in fields
        )
    if kind == b"list":
        return [plain(each) for each in redis.lrange(key, 0, -1)]
    if kind == b"zset":
        return sorted(plain(each) for each in redis.zrange(key, 0, -1))
    if kind == b"set":
        return sorted(plain(each) for each in redis.smembers(key))
    if kind == b"stream":
        return [sorted(map(plain, fields.items())) for _, fields in redis.xrange(key)]
    return plain(redis.get(key))


def is_time(name: bytes) -> bool:
    return not name.startswith((b"jobs:", b"attempts:", b"skipped:", b"rejected:"))


def plain(value: Any) -> str:
    found = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    for pattern, word in VARYING:
        found = pattern.sub(word, found)
    return found
