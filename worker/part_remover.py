"""Removes the parts of ended jobs, in a thread: a storage that hangs does not hold up others.

Neither heartbeats, nor the next video, nor the end of the worker wait for it. What is not done in
time is done by the API (``shoal.queue.cleanup``).
"""

from __future__ import annotations

import logging
import threading

from shoal.errors import RedisUnavailable
from shoal.ingest.checkpoints import kept_until
from shoal.ingest.uploads import remove_redacted_upload
from shoal.model.record import Record, now
from shoal.queue.connection import redis_errors
from shoal.queue.queue import JobQueue
from shoal.queue.split import segment_ids
from shoal.results.parts import remove_parts
from shoal.settings import Settings

log = logging.getLogger(__name__)


class PartRemover:
    """One removal at a time; while that hangs, the next ones are left to the API."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self._queue = queue
        self._settings = settings
        self._thread: threading.Thread | None = None

    def start(self, record: Record) -> None:
        if self.is_busy:
            log.warning("the parts of job %s are left to the API", record.id)
            return
        self._thread = threading.Thread(target=self._remove, args=(record,), daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait a moment for the current removal; whether it is over."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.is_busy

    def _remove(self, record: Record) -> None:
        kept_s, ids = max(0.0, kept_until(record, self._settings) - now()), segment_ids(record)
        if not remove_parts(record.spec, self._settings, ids, keep_states=kept_s > 0):
            return
        try:
            with redis_errors():
                remove_redacted_upload(record, self._queue, self._settings)
                self._queue.cleanup.done(record.id, kept_s)
        except RedisUnavailable as error:
            log.warning("%s: the API looks for parts of job %s again", error, record.id)
