"""Deletes a job with all that Shoal stored for it, in steps that can be repeated.

A job that is to be deleted is marked in its record and in ``<queue>:deleting``. Its files go first,
then its record, in one transaction with a tombstone in ``<queue>:deleted``, by which reconciliation
and events know that its video is not to be processed again. Whatever breaks in between is done
again by the next round. The source in a bucket of a user is never touched: of sources, only uploads
are deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from redis.client import Pipeline

from shoal.errors import ShoalError, SourceNotFound, StateConflict, UnreadableRecord
from shoal.model.job import JobSpec
from shoal.model.record import Record, now, text
from shoal.queue.indexes import upload_index
from shoal.queue.queue import JobQueue
from shoal.queue.split import Splits, segment_ids
from shoal.queue.stats import DAY_S
from shoal.results.layout import parts_prefix, split_prefix
from shoal.retention.deleted import Deleted, count
from shoal.retention.uploads import erase_upload
from shoal.settings import Settings
from shoal.storage import storage_for

AT_ONCE = 50  # jobs in one round

log = logging.getLogger(__name__)


class Deletions:
    """Jobs that are to be deleted. Any number of processes may work on them at once."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self.queue = queue
        self.settings = settings
        self.key = f"{queue.name}:deleting"

    def ask(self, job_id: str) -> Record:
        """Have a job deleted: one that waits or runs is cancelled first.

        Raises:
            JobNotFound
        """
        splits = Splits(self.queue)
        with suppress(StateConflict):  # it has ended
            splits.cancel(job_id)
        splits.stop(job_id)

        def change(pipe: Pipeline) -> None:
            record = self.queue.read(pipe, job_id) or self.queue.records.get(job_id)
            pipe.multi()
            if record.deleting_at is None:
                self.queue.records.update(pipe, record, deleting_at=now())
                self.queue.records.record_event(pipe, job_id, "deleting")
            pipe.zadd(self.key, {job_id: now()}, nx=True)

        self.queue.transaction(job_id, change)
        return self.queue.records.get(job_id)

    def run(self) -> list[str]:
        """Delete what was asked for and has ended; returns the ids of what is gone."""
        found = self.queue.redis.zrange(self.key, 0, AT_ONCE - 1)
        return [job_id for job_id in map(text, found) if self._delete(job_id)]

    def _delete(self, job_id: str) -> bool:
        try:
            record = self.queue.records.find(job_id)
            segments = self.queue.records.read_all(segment_ids(record)) if record else []
            if record and not all(each.state.is_final for each in (record, *segments)):
                self._later(job_id)
                return False
            if record:
                deleted = self._erase(record, segments)
                count(self.queue, "jobs", deleted)
                log.info(
                    "job %s: deleted, %d files of %d bytes", job_id, deleted.files, deleted.size
                )
        except UnreadableRecord:  # what it has in storage is not known
            log.warning("job %s cannot be read: only its record is deleted", job_id)
            self.queue.forget(job_id)
        except ShoalError as error:
            log.warning("job %s is not deleted yet: %s [%s]", job_id, error, error.code)
            self._later(job_id)
            return False
        if record:
            for segment in segments:
                self.queue.forget(segment.id)
            self._forget(record)
        self.queue.redis.zrem(self.key, job_id)
        return True

    def _later(self, job_id: str) -> None:
        """Others first."""
        self.queue.redis.zadd(self.key, {job_id: now()}, xx=True)

    def _erase(self, record: Record, segments: Sequence[Record]) -> Deleted:
        deleted = self.erase_results(record.spec)
        if segments:
            deleted += self._erase_folder(split_prefix(record.spec))
        if self.settings.is_upload(record.spec.uri) and not self.users_of(record.spec.uri, record):
            deleted += erase_upload(record.spec.uri, self.queue, self.settings)
        return deleted

    def erase_results(self, spec: JobSpec) -> Deleted:
        """Delete results, segments and checkpoints.

        Raises:
            ShoalError: of the storage.
        """
        return self._erase_folder(parts_prefix(spec)) + self._erase_folder(spec.results_prefix)

    def _erase_folder(self, prefix: str) -> Deleted:
        deleted = Deleted()
        storage = storage_for(prefix, self.settings)
        with suppress(SourceNotFound):
            for info in list(storage.list(prefix)):
                storage.delete(info.uri)
                deleted += Deleted(1, info.size)
            storage.sweep(prefix)
            storage.delete(prefix)  # the folder itself, where there is one
        return deleted

    def users_of(self, uri: str, besides: Record) -> list[Record]:
        """Other jobs that may still need an upload: it is kept for ``uploads_days`` for each."""
        index = upload_index(uri)
        if index is None:
            return []
        ids = self.queue.redis.zrange(self.queue.records.indexes.key(index), 0, -1)
        others = self.queue.records.read_all([text(i) for i in ids if text(i) != besides.id])
        return [record for record in others if self._needs_upload(record)]

    def _needs_upload(self, record: Record) -> bool:
        if record.deleting_at is not None:
            return False
        days = self.settings.uploads_days
        ended = record.finished_at if record.state.is_final else None
        return ended is None or not days or ended > now() - days * DAY_S

    def _forget(self, record: Record) -> None:
        def change(pipe: Pipeline) -> None:
            current = self.queue.read(pipe, record.id)
            pipe.multi()
            if current and current.state.is_final and current.deleting_at is not None:
                self.queue.remove(pipe, current)
                pipe.zadd(self.queue.deleted_key, {record.id: now()})

        self.queue.transaction(record.id, change)
