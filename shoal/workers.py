"""The workers there are, as they announce themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shoal.records import encode_field, text

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis


class WorkerInfo(BaseModel):
    """One worker. Times are seconds since the epoch."""

    name: str
    host: str
    pid: int
    started_at: float
    beat_at: float = 0.0
    state: str = "starting"  # starting (the model loads), idle, busy, stopping
    job: str = ""  # id of the job it is on
    engine: str = ""  # known once the model is loaded
    device: str = ""
    model_loads: int = 0
    hourly_price: float = 0.0  # US dollars; 0: not known
    jobs_done: int = 0  # attempts ended since it started, whatever their outcome


def announce(redis: Redis, namespace: str, worker: WorkerInfo, ttl_s: float) -> None:
    """Write what a worker is and does; it is forgotten ``ttl_s`` seconds later."""
    fields: dict[Any, Any] = {k: encode_field(v) for k, v in worker.model_dump().items()}
    pipe = redis.pipeline()
    pipe.sadd(_names_key(namespace), worker.name)
    pipe.hset(_key(namespace, worker.name), mapping=fields)
    pipe.pexpire(_key(namespace, worker.name), int(ttl_s * 1000))
    pipe.execute()


def withdraw(redis: Redis, namespace: str, name: str) -> None:
    """A worker that ends in order takes its name off the list."""
    pipe = redis.pipeline()
    pipe.srem(_names_key(namespace), name)
    pipe.delete(_key(namespace, name))
    pipe.execute()


def list_workers(redis: Redis, namespace: str) -> list[WorkerInfo]:
    """The workers alive, by name. Names of vanished ones are dropped on the way."""
    names = sorted(text(name) for name in redis.smembers(_names_key(namespace)))
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hgetall(_key(namespace, name))
    found = dict(zip(names, pipe.execute(), strict=True))
    gone = [name for name, fields in found.items() if not fields]
    if gone:
        redis.srem(_names_key(namespace), *gone)
    return [
        WorkerInfo.model_validate({text(k): text(v) for k, v in fields.items()})
        for fields in found.values()
        if fields
    ]


def _names_key(namespace: str) -> str:
    return f"{namespace}:workers"


def _key(namespace: str, name: str) -> str:
    return f"{namespace}:worker:{name}"
