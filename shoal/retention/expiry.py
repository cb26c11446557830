"""Has jobs deleted whose results are kept no longer, and deletes uploads that are not needed.

Jobs are looked at in the order in which they ended, once for each number of days that is in force:
``<queue>:expiry`` keeps for each how far that has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from shoal.errors import JobNotFound, ShoalError
from shoal.ingest.rules import Rules
from shoal.model.record import Record, now, text
from shoal.queue.indexes import ENDED
from shoal.queue.queue import JobQueue
from shoal.queue.stats import DAY_S
from shoal.retention.deleted import count
from shoal.retention.deletion import Deletions
from shoal.retention.uploads import erase_upload
from shoal.settings import Settings

AT_ONCE = 200  # jobs of one number of days in one round

log = logging.getLogger(__name__)


class Expiry:
    """Applies ``results_days`` and ``uploads_days``."""

    def __init__(self, queue: JobQueue, settings: Settings, deletions: Deletions) -> None:
        self.queue = queue
        self.settings = settings
        self.deletions = deletions
        self.key = f"{queue.name}:expiry"

    def run(self, rules: Rules) -> None:
        for days in _all_days(rules, self.settings):
            self._visit("results", days, partial(self._results, rules, days))
        if self.settings.uploads_days:
            self._visit("uploads", self.settings.uploads_days, self._upload)

    def _visit(self, kind: str, days: float, expire: Callable[[Record], None]) -> None:
        """Look at the jobs that ended so many days ago, and were not looked at before."""
        field = f"{kind}:{days:g}"
        done: Any = self.queue.redis.hget(self.key, field)
        first = f"({text(done)}" if done else "-inf"
        key, redis = self.queue.records.indexes.key(ENDED), self.queue.redis
        last = now() - days * DAY_S
        found: Any = redis.zrangebyscore(key, first, last, start=0, num=AT_ONCE, withscores=True)
        if not found:
            return
        at = found[-1][1]
        same: Any = redis.zrangebyscore(key, at, at)  # those of the same instant as the last one
        ids = dict.fromkeys([*(text(job_id) for job_id, _ in found), *map(text, same)])
        try:
            for record in self.queue.records.read_all(list(ids)):
                expire(record)
        except ShoalError as error:
            log.warning("expiry of %s is tried again: %s [%s]", kind, error, error.code)
        else:
            redis.hset(self.key, field, repr(at))

    def _results(self, rules: Rules, days: float, record: Record) -> None:
        kept = rules.results_days_of(record.share.source, self.settings.results_days)
        if kept != days or record.deleting_at is not None:
            return
        try:
            self.deletions.ask(record.id)
        except JobNotFound:  # forgotten meanwhile
            return
        log.info("job %s: its results are deleted after %g days", record.id, days)

    def _upload(self, record: Record) -> None:
        uri = record.spec.uri
        if not self.settings.is_upload(uri) or self.deletions.users_of(uri, record):
            return
        deleted = erase_upload(uri, self.queue, self.settings)
        if deleted.files:
            count(self.queue, "uploads", deleted)
            log.info("upload of job %s: deleted, %d bytes", record.id, deleted.size)


def needed_days(rules: Rules, settings: Settings) -> float:
    """How long records are needed to delete results and uploads in time; 0: not at all."""
    longest = max(_all_days(rules, settings) | {settings.uploads_days})
    return longest + 1 if longest else 0.0


def _all_days(rules: Rules, settings: Settings) -> set[float]:
    """Every number of days that is in force for results."""
    own = (rule.results_days for rule in rules.items)
    return {days for days in (*own, settings.results_days) if days}
