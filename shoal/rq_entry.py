"""What RQ keeps of a job that is queued, written without building RQ's own objects each time.

One job is made by RQ; the entries of all others are that one with another id. RQ's classes would
take longer for it than all the rest of a submission.
"""

from __future__ import annotations

import zlib

from redis.client import Pipeline
from rq import Queue
from rq.job import Job, JobStatus
from rq.utils import now, utcformat

SAMPLE_ID = "0" * 24  # as long as an id of ours


class EntryTemplate:
    """Queues ids on one RQ queue.

    Args:
        sample: a job of the queue as RQ makes it, with ``SAMPLE_ID``.
    """

    def __init__(self, queue: Queue, sample: Job) -> None:
        self._queue_key = queue.key
        sample.set_status(JobStatus.QUEUED, pipeline=queue.connection.pipeline())
        fields = {name: value for name, value in sample.to_dict().items() if value != ""}
        self._data = zlib.decompress(fields.pop("data")).decode()
        self._description = str(fields.pop("description"))
        self._fields = fields

    def push(self, pipe: Pipeline, job_id: str) -> None:
        """Queue a job that is new, at the end."""
        at = utcformat(now())
        fields = {
            **self._fields,
            "data": self._data.replace(SAMPLE_ID, job_id),  # RQ takes it uncompressed, too
            "description": self._description.replace(SAMPLE_ID, job_id),
            "created_at": at,
            "enqueued_at": at,
        }
        pipe.sadd(Queue.redis_queues_keys, self._queue_key)
        pipe.hset(Job.key_for(job_id), mapping=fields)
        pipe.rpush(self._queue_key, job_id)
