"""What vanished workers leave in RQ's own tables, which ``worker.rq_mirror`` fills.

RQ sweeps them only when they are looked at, and then requeues or fails jobs on the way: so Shoal
removes the entries by itself, and RQ finds nothing to do. Nothing in Shoal depends on them.
"""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq.executions import ExecutionRegistry
from rq.queue import Queue
from rq.registry import StartedJobRegistry
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from shoal.records import text


def remove_debris(queue: Queue, redis_now: float) -> None:
    """Remove executions whose time is over, and workers that are not there any more."""
    redis: Redis = queue.connection
    started = StartedJobRegistry(queue.name, connection=redis)
    entries: Any = redis.zrangebyscore(started.key, 0, redis_now)
    pipe = redis.pipeline()
    for entry in map(text, entries):
        job_id, _, execution_id = entry.partition(":")
        pipe.zrem(started.key, entry)
        pipe.zrem(ExecutionRegistry(job_id, redis).key, execution_id)
    workers: Any = redis.smembers(REDIS_WORKER_KEYS)
    for key in workers:
        if not redis.exists(key):
            pipe.srem(REDIS_WORKER_KEYS, key)
            pipe.srem(WORKERS_BY_QUEUE_KEY % queue.name, key)
    pipe.execute()
