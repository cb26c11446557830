"""Which job each upload became, so that an edited rule applies to new uploads only.

Keys, below the queue's name: ``ingested:<week>``, a hash from a digest of URI and version to the
job's ID. Events note it as they create jobs (``shoal.queue.enqueue``). The sweep notes again what
it still finds; what it does not find lapses after two weeks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from shoal.model.job import JobSpec
from shoal.model.record import now, text

WEEK_S = 7 * 24 * 3600
KEPT_S = 2 * WEEK_S


class Ingested:
    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace

    def note(self, specs: Sequence[JobSpec], earlier: Mapping[str, str] | None = None) -> None:
        """Remember what uploads became: these jobs, or those that ``earlier`` gave for them."""
        if not specs:
            return
        jobs: dict[Any, Any] = {
            digest(spec): (earlier or {}).get(spec.id, spec.id) for spec in specs
        }
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(self.key, mapping=jobs)
        pipe.expire(self.key, KEPT_S)
        pipe.execute()

    def earlier(self, specs: Sequence[JobSpec]) -> dict[str, str]:
        """By ID, those whose uploads became jobs with other prompts or options; and their IDs."""
        if not specs:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for key in (self.key, self._key(weeks_ago=1)):
            pipe.hmget(key, [digest(spec) for spec in specs])
        newest, before = pipe.execute()
        found: Any = zip(specs, newest, before, strict=True)
        known = ((spec.id, text(new or old)) for spec, new, old in found if new or old)
        return {job_id: other for job_id, other in known if other != job_id}

    @property
    def key(self) -> str:
        """The hash of this week."""
        return self._key()

    def _key(self, weeks_ago: int = 0) -> str:
        return f"{self._namespace}:ingested:{int(now() // WEEK_S) - weeks_ago}"


def digest(spec: JobSpec) -> bytes:
    """Of the upload that a job is made of."""
    return hashlib.sha256(f"{spec.uri}\0{spec.version}".encode()).digest()[:12]
