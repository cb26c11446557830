"""The thread that deletes: what was asked for, and what is kept no longer."""

from __future__ import annotations

from api.background.base import Background
from shoal.ingest.rules_file import RulesFile
from shoal.queue.queue import JobQueue
from shoal.retention.deletion import Deletions
from shoal.retention.expiry import Expiry
from shoal.retention.uploads import UnusedUploads
from shoal.settings import Settings

PAUSE_S = 2.0


class RetentionThread(Background):
    """Each API has one, apart from the reaper: a storage that is slow must not hold up leases."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        super().__init__("retention", PAUSE_S)
        self._rules = rules
        self._deletions = Deletions(queue, settings)
        self._expiry = Expiry(queue, settings, self._deletions)
        self._unused = UnusedUploads(queue, settings)

    def round(self) -> bool:
        self._expiry.run(self._rules.current())
        self._unused.run()
        return bool(self._deletions.run())
