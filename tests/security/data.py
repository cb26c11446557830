"""Jobs of the security tests."""

from __future__ import annotations

from shoal.model.job import JobSpec
from shoal.model.record import Record
from shoal.queue.queue import JobQueue


def spec(name: str = "a") -> JobSpec:
    return JobSpec(
        uri=f"s3://matches/{name}.mp4",
        version="etag:1",
        size=1,
        prompts=("car",),
        results="s3://results/x",
    )


def ended_job(queue: JobQueue, *, callback: str) -> Record:
    """A cancelled job, of which somebody is to be told."""
    record, _ = queue.submit(spec(), callback=callback)
    return queue.cancel(record.id)
