"""The workers there are, as they announce themselves."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shoal.errors import WorkerNotFound
from shoal.model.record import encode_field, text
from shoal.model.worker import WorkerInfo
from shoal.queue.scaling import cap_key
from shoal.queue.unreadable import readable

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis

OF_SKYPILOT = re.compile(r"sky\d+-")  # see ``unique_name``
DRAIN_KEPT_S = 7 * 24 * 3600  # longer than any worker is frozen or works on its last video


def unique_name(environ: Mapping[str, str] = os.environ) -> str:
    """A name that no worker had before: not one of another machine with the same host name, and
    not the one that had this process id before a restart.

    SkyPilot's id of the managed job comes first where there is one, to find a worker by.
    """
    job = environ.get("SKYPILOT_MANAGED_JOB_ID", "")
    sky = [f"sky{job}"] if re.fullmatch(r"\w{1,20}", job) else []
    return "-".join([*sky, socket.gethostname(), str(os.getpid()), secrets.token_hex(4)])


def announce(redis: Redis, namespace: str, worker: WorkerInfo, ttl_s: float) -> bool:
    """Write what a worker is and does; it is forgotten ``ttl_s`` seconds later.

    Returns:
        Whether it is to drain: it was asked to, or it is SkyPilot's and the pool was scaled to 0,
        maybe before it started.
    """
    fields: dict[Any, Any] = {k: encode_field(v) for k, v in worker.model_dump().items()}
    pipe = redis.pipeline()
    pipe.sadd(_names_key(namespace), worker.name)
    pipe.hset(_key(namespace, worker.name), mapping=fields)
    pipe.pexpire(_key(namespace, worker.name), int(ttl_s * 1000))
    pipe.sismember(_draining_key(namespace), worker.name)
    pipe.exists(_note_key(namespace, worker.name))
    pipe.get(cap_key(namespace))
    *_, asked, noted, cap = pipe.execute()
    return bool(asked or noted or _is_scaled_away(worker.name, cap))


def ask_to_drain(redis: Redis, namespace: str, name: str) -> WorkerInfo:
    """Have a worker end after the job that it has; it learns of it with its next beat.

    That may come late: a worker that is frozen, or cut off, is still to end when it wakes up.

    Raises:
        WorkerNotFound: there is no such worker.
    """
    for worker in list_workers(redis, namespace):
        if worker.name == name:
            pipe = redis.pipeline()
            pipe.sadd(_draining_key(namespace), name)
            pipe.set(_note_key(namespace, name), "drain", ex=DRAIN_KEPT_S)
            pipe.execute()
            worker.draining = True
            return worker
    raise WorkerNotFound(f"there is no worker {name[:80]!r}")


def withdraw(redis: Redis, namespace: str, name: str) -> None:
    """A worker that ends in order takes its name off the list."""
    pipe = redis.pipeline()
    pipe.srem(_names_key(namespace), name)
    pipe.srem(_draining_key(namespace), name)
    pipe.delete(_key(namespace, name), _note_key(namespace, name))
    pipe.execute()


def list_workers(redis: Redis, namespace: str) -> list[WorkerInfo]:
    """The workers alive, by name. Names of vanished ones are dropped on the way."""
    names = sorted(text(name) for name in redis.smembers(_names_key(namespace)))
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(_key(namespace, name))
    found = dict(zip(names, pipe.execute(raise_on_error=False), strict=True))
    gone = [name for name, fields in found.items() if not fields]
    if gone:
        redis.srem(_names_key(namespace), *gone)
        redis.srem(_draining_key(namespace), *gone)  # the note stays: it may only be frozen
    pipe.smembers(_draining_key(namespace))
    pipe.get(cap_key(namespace))
    members, cap = pipe.execute()
    asked = {text(name) for name in members}
    there = ((name, fields) for name, fields in found.items() if fields)
    workers = [worker for _, worker in readable("worker", there, _worker)]
    for worker in workers:  # before its next beat says so
        worker.draining |= worker.name in asked or _is_scaled_away(worker.name, cap)
    return workers


def _is_scaled_away(name: str, cap: bytes | None) -> bool:
    return cap == b"0" and bool(OF_SKYPILOT.match(name))


def _worker(fields: Mapping[bytes, bytes]) -> WorkerInfo:
    return WorkerInfo.model_validate({text(k): text(v) for k, v in fields.items()})


def _names_key(namespace: str) -> str:
    return f"{namespace}:workers"


def _draining_key(namespace: str) -> str:
    return f"{namespace}:workers:draining"


def _note_key(namespace: str, name: str) -> str:
    """That a worker is to drain, whether it is on the list or not."""
    return f"{namespace}:drain:{name}"


def _key(namespace: str, name: str) -> str:
    return f"{namespace}:worker:{name}"
