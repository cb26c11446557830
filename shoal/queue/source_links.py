"""The whole URLs of videos on the web, ``source:<job id>``, until their jobs have succeeded.

A record has the public name alone, as records are shown. Only the parent of a worker reads these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal.model.record import Record, text
from shoal.model.source_url import has_secrets, is_web

if TYPE_CHECKING:
    from redis import Redis


class SourceLinks:
    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    def key(self, job_id: str) -> str:
        return f"{self._namespace}:source:{job_id}"

    def keep(self, job_id: str, url: str) -> None:
        """Before the job is queued. A later one replaces it: an earlier one may have expired."""
        if has_secrets(url):
            self._redis.set(self.key(job_id), url)

    def find(self, record: Record) -> str:
        """The whole URL of a job's video; empty where the public name is all of it."""
        spec = record.spec
        job_id = spec.segment.job if spec.segment else record.id
        found = self._redis.get(self.key(job_id)) if is_web(spec.uri) else None
        return text(found) if found else ""
