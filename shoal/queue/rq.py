"""RQ's tables as Shoal writes and clears them; nothing in Shoal reads them.

A queued job has an entry that RQ's own tools understand. Building one with RQ's classes would take
longer than all the rest of a submission, so RQ makes one job and the entries of all others are
that one with another id. What vanished workers leave (``worker.rq_mirror``) is removed here: RQ
itself clears it only when it is looked at, and requeues or fails jobs on the way.
"""

from __future__ import annotations

import zlib
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq.executions import ExecutionRegistry
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import StartedJobRegistry
from rq.utils import now, utcformat
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from shoal.model.record import text

SAMPLE_ID = "0" * 24  # as long as an id of ours


class EntryTemplate:
    """Writes the entries of one RQ queue.

    Args:
        sample: a job of the queue as RQ makes it, with ``SAMPLE_ID``.
    """

    def __init__(self, queue: Queue, sample: Job) -> None:
        sample.set_status(JobStatus.QUEUED, pipeline=queue.connection.pipeline())
        fields = {name: value for name, value in sample.to_dict().items() if value != ""}
        self._data = zlib.decompress(fields.pop("data")).decode()
        self._description = str(fields.pop("description"))
        self._fields = fields

    def write(self, pipe: Pipeline, job_id: str) -> None:
        """Write the entry of a job that is queued now."""
        at = utcformat(now())
        fields = {
            **self._fields,
            "data": self._data.replace(SAMPLE_ID, job_id),  # RQ takes it uncompressed, too
            "description": self._description.replace(SAMPLE_ID, job_id),
            "created_at": at,
            "enqueued_at": at,
        }
        pipe.delete(Job.key_for(job_id))
        pipe.hset(Job.key_for(job_id), mapping=fields)


def remove_debris(queue: Queue, leases_key: str) -> None:
    """Remove executions of jobs that no worker has, and workers that are not there any more.

    RQ's own times are those of the workers' clocks, so the leases tell who is at work.
    """
    redis: Redis = queue.connection
    started = StartedJobRegistry(queue.name, connection=redis)
    entries: Any = redis.zrange(started.key, 0, -1)
    leased: Any = redis.zrange(leases_key, 0, -1)
    pipe = redis.pipeline()
    for entry in map(text, entries):
        job_id, _, execution_id = entry.partition(":")
        if job_id.encode() not in leased:
            pipe.zrem(started.key, entry)
            pipe.zrem(ExecutionRegistry(job_id, redis).key, execution_id)
            pipe.delete(f"rq:execution:{job_id}:{execution_id}")
    workers: Any = redis.smembers(REDIS_WORKER_KEYS)
    for key in workers:
        if not redis.exists(key):
            pipe.srem(REDIS_WORKER_KEYS, key)
            pipe.srem(WORKERS_BY_QUEUE_KEY % queue.name, key)
    pipe.execute()
