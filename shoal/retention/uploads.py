"""Deletes uploads: those that no job uses, and what is left of those that were never finished.

Every hour one API process lists all uploads. ``<queue>:unused-uploads`` has since when one was
found without a job; after ``uploads_days`` of that it is deleted. As this is not the file's own
time, nothing is deleted in haste after Redis was lost.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from shoal.errors import ShoalError, SourceNotFound
from shoal.model.record import now, text
from shoal.queue.indexes import upload_index
from shoal.queue.queue import JobQueue
from shoal.queue.stats import DAY_S
from shoal.queue.uploads import BucketLedger
from shoal.retention.deleted import Deleted, count
from shoal.settings import Settings
from shoal.storage import bucket_for, storage_for

PERIOD_S = 3600
STALE_JOIN_S = 24 * 3600  # no process continues it any more
OPEN = ".open"  # the folder with the pieces of uploads that are under way
_KEPT = re.compile(r"[0-9a-f]{16}/[^/]+")

log = logging.getLogger(__name__)


def pieces_folder(root: str, upload: str) -> str:
    """Where the pieces lie of an upload to a bucket that is under way."""
    return f"{root}/{OPEN}/{upload}/"


def erase_upload(uri: str, queue: JobQueue, settings: Settings) -> Deleted:
    """Delete an upload; a missing one is no error.

    Raises:
        ShoalError: of the storage.
    """
    storage = storage_for(uri, settings)
    deleted = Deleted()
    with suppress(SourceNotFound):
        deleted = Deleted(1, storage.stat(uri).size)
        storage.delete(uri)
        folder = uri.rpartition("/")[0] + "/"
        if not any(storage.entries(folder)):
            storage.delete(folder)
    BucketLedger(queue.redis, queue.name).free(uri)
    return deleted


class UnusedUploads:
    """Any number of processes may run it at once."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self._queue = queue
        self._settings = settings
        self._ledger = BucketLedger(queue.redis, queue.name)
        self._key = f"{queue.name}:unused-uploads"
        self._turn = f"{queue.name}:uploads-listed"

    def touch(self, uri: str) -> None:
        """It was just uploaded, or uploaded again."""
        self._queue.redis.zrem(self._key, uri)

    def run(self) -> None:
        """Do it, unless that was done within the hour."""
        if not self._queue.redis.set(self._turn, "1", nx=True, ex=PERIOD_S):
            return
        try:
            self._note(self._files())
            if bucket := self._settings.uploads_bucket:
                self._note(self._in_bucket(bucket))
                bucket_for(bucket, self._settings).abort_joins(f"{bucket}/", now() - STALE_JOIN_S)
        except ShoalError as error:
            log.warning("unused uploads are looked for in an hour: %s [%s]", error, error.code)
        self._delete_old()

    def _note(self, uris: Iterator[str]) -> None:
        """Note of uploads since when they have had no job."""
        for uri in uris:
            if self._is_used(uri):
                self._queue.redis.zrem(self._key, uri)
            else:
                self._queue.redis.zadd(self._key, {uri: now()}, nx=True)

    def _files(self) -> Iterator[str]:
        root = self._settings.uploads_dir.as_uri()
        if self._settings.uploads_dir.is_dir():
            for info in storage_for(root, self._settings).list(f"{root}/"):
                if _KEPT.fullmatch(info.uri.removeprefix(f"{root}/")):
                    yield info.uri

    def _in_bucket(self, root: str) -> Iterator[str]:
        """The uploads in the bucket. Pieces that nobody can continue are deleted on the way, and
        the room that each upload has is put right."""
        known, is_there, ended = set(self._ledger.known()), set[str](), set[str]()
        for info in storage_for(root, self._settings).list(f"{root}/"):
            below = info.uri.removeprefix(f"{root}/")
            folder, _, rest = below.partition("/")
            if _KEPT.fullmatch(below):
                is_there.add(info.uri)
                if info.uri not in known:
                    self._ledger.adopt(info.uri, info.size)
                yield info.uri
            elif folder == OPEN and not self._is_open(upload := rest.partition("/")[0]):
                ended.add(upload)
        for upload in ended:
            bucket_for(root, self._settings).drop_pieces(pieces_folder(root, upload))
            log.info("upload %s: deleted, as nobody has continued it", upload)
        gone = [each for each in known - is_there if "/" in each or not self._is_open(each)]
        self._ledger.free(*gone)

    def _is_open(self, upload: str) -> bool:
        return self._ledger.find(upload) is not None

    def _is_used(self, uri: str) -> bool:
        index = upload_index(uri)
        return bool(index and self._queue.redis.zcard(self._queue.records.indexes.key(index)))

    def _delete_old(self) -> None:
        if not self._settings.uploads_days:
            return
        last = now() - self._settings.uploads_days * DAY_S
        found: Any = self._queue.redis.zrangebyscore(self._key, "-inf", last)
        for uri in map(text, found):
            try:
                self._delete(uri)
            except ShoalError as error:
                log.warning("the unused upload %s stays: %s [%s]", uri, error, error.code)

    def _delete(self, uri: str) -> None:
        deleted = Deleted()
        if self._settings.is_upload(uri) and not self._is_used(uri):
            deleted = erase_upload(uri, self._queue, self._settings)
        is_ours = self._queue.redis.zrem(self._key, uri)  # or another API's, which counts it
        if deleted.files and is_ours:
            count(self._queue, "uploads", deleted)
            log.info("upload %s: deleted, %d bytes that no job used", uri, deleted.size)
