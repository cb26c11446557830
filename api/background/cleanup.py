"""Removes the parts of ended jobs that their workers left: killed, or the storage was away."""

from __future__ import annotations

import logging

from api.background.base import Background
from shoal.ingest.cancel import remove_published
from shoal.ingest.checkpoints import kept_until
from shoal.ingest.uploads import remove_redacted_upload
from shoal.model.job import State
from shoal.model.record import Record, now
from shoal.queue.queue import JobQueue
from shoal.queue.split import segment_ids
from shoal.results.parts import remove_parts
from shoal.settings import Settings
from shoal.storage.base import hastily

AT_ONCE = 20  # jobs in a round
MIN_PAUSE_S = 60.0  # between two attempts; then as long as the job has ended
GIVE_UP_S = 7 * 24 * 3600.0

log = logging.getLogger(__name__)


class CleanupThread(Background):
    """Works through ``JobQueue.cleanup``; any number may run at once.

    A worker has a lease's time for what it ended itself. A storage that hangs holds up this thread
    and nothing else.
    """

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        super().__init__("cleanup", queue.lease_s / 4)
        self._queue = queue
        self._settings = settings

    def round(self) -> bool:
        due = self._queue.cleanup.due(self._queue.lease_s, AT_ONCE)
        for job_id in due:
            if self.stop_asked.is_set():
                return False
            self._clean(job_id)
        return len(due) == AT_ONCE

    def _clean(self, job_id: str) -> None:
        cleanup = self._queue.cleanup
        record = next(iter(self._queue.records.read_all([job_id])), None)
        if record is None or record.state not in (State.SUCCEEDED, State.CANCELLED):
            cleanup.done(job_id)  # forgotten, or queued again
            return
        until = kept_until(record, self._settings)
        kept_s = max(0.0, until - now())
        if self._remove(record, keep_states=kept_s > 0):
            remove_redacted_upload(record, self._queue, self._settings)
            cleanup.done(job_id, kept_s)
        elif now() - until < GIVE_UP_S:
            cleanup.later(job_id, max(MIN_PAUSE_S, now() - (record.finished_at or 0.0)))
        else:
            log.error("the parts of job %s are left: they could not be removed", job_id)
            cleanup.done(job_id)

    def _remove(self, record: Record, *, keep_states: bool) -> bool:
        with hastily():  # one of a storage that hangs does not keep the others waiting
            ids = segment_ids(record)
            if not remove_parts(record.spec, self._settings, ids, keep_states=keep_states):
                return False
            return record.state != State.CANCELLED or remove_published(record, self._settings)
