"""The thread that runs batches: lists their files, queues, cancels and retries their videos.

Every API has one. A batch is one API's at a time, by a lock that lapses when that API dies; each
page that was dealt with is kept in Redis, and the next API goes on after it. A page that was begun
is begun again: its jobs are known by then, and stay the ones they are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

from redis.exceptions import LockError
from redis.lock import Lock

from api.background.base import Background
from api.background.batch_room import BatchRoom
from shoal.errors import (
    BatchNotFound,
    JobNotFound,
    RedisUnavailable,
    ShoalError,
    StateConflict,
    UnreadableRecord,
)
from shoal.ingest.decide import Reason, UploadedObject, is_video, unwanted
from shoal.ingest.rules_file import RulesFile
from shoal.ingest.submissions import find, object_named, specify, validate_for_many
from shoal.model.batch import Batch, BatchSkip, Cursor, submission_of
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.globs import UriPattern
from shoal.model.job import JobSpec, State
from shoal.model.record import Record, now
from shoal.model.source_url import public_name
from shoal.queue.batches import Batches
from shoal.queue.cancelling import cancel_waiting
from shoal.queue.connection import redis_errors
from shoal.queue.queue import JobQueue
from shoal.queue.split import Splits
from shoal.retention.batch_deletion import delete_page
from shoal.retention.deletion import Deletions
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for
from shoal.storage.files import FileStorage

PAGE = 200  # files, URIs or jobs processed together
ASKERS = 8  # URIs looked up at a time
IDLE_S = 0.5  # between two checks for work
AGAIN_S = 10.0  # after an error of the storage

log = logging.getLogger(__name__)


class BatchRunner:
    """Gives each open batch a page of work in turn."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        self.queue = queue
        self.batches = Batches(queue)
        self._deletions = Deletions(queue, settings)
        self._room = BatchRoom(queue)
        self._rules = rules
        self._settings = settings
        self._held: dict[str, _Held] = {}
        self._not_before: dict[str, float] = {}

    def round(self) -> bool:
        """One page of every open batch that no other API has; whether there was any.

        Raises:
            RedisUnavailable
        """
        worked = False
        with redis_errors():
            open_ids = self.batches.open()
            for batch_id in self._held.keys() - set(open_ids):
                self._let_go(batch_id)
            for batch_id in self._not_before.keys() - set(open_ids):
                del self._not_before[batch_id]
            for batch_id in open_ids:
                if self._not_before.get(batch_id, 0.0) <= time.monotonic():
                    worked |= self._page(batch_id)
        return worked

    def close(self) -> None:
        """Leave all batches to other APIs."""
        for batch_id in tuple(self._held):
            with suppress(RedisUnavailable), redis_errors():
                self._let_go(batch_id)

    def _page(self, batch_id: str) -> bool:
        held = self._held.get(batch_id) or self._take(batch_id)
        if held is None:
            return False
        try:
            with redis_errors():  # an outage is waited out: it is no fault of this batch
                held.keep()
                self._work(self.batches.get(batch_id), held)
        except (LockError, BatchNotFound):
            self._held.pop(batch_id)  # another API was faster
        except RedisUnavailable:
            raise
        except UnreadableRecord as error:
            log.warning("batch %s: %s [%s]", batch_id, error, error.code)
            self.batches.set_aside(batch_id)
        except Exception as error:  # a fault with one must not keep the others waiting
            self._stumble(batch_id, error)
        return True

    def _work(self, batch: Batch, held: _Held) -> None:
        if batch.is_cancelling:
            self._cancel(batch, held)
        elif batch.delete_asked_at is not None:
            keep, place = held.keep, held.place
            held.place = delete_page(self.batches, self._deletions, batch.id, place, keep)
        elif batch.retry_asked_at is not None:
            self._retry(batch, batch.retry_asked_at, held)
        elif batch.is_expanding:
            self._expand(batch, held)

    def _take(self, batch_id: str) -> _Held | None:
        lock = Lock(
            self.queue.redis,
            self.batches.key(batch_id, "lock"),
            timeout=self.queue.lease_s,
            thread_local=False,
        )
        if not lock.acquire(blocking=False):
            return None
        self._held[batch_id] = _Held(lock, self.queue.lease_s / 4)
        return self._held[batch_id]

    def _let_go(self, batch_id: str) -> None:
        with suppress(LockError):
            self._held.pop(batch_id).lock.release()

    def _stumble(self, batch_id: str, error: Exception) -> None:
        """Storage that is away is waited for; anything else ends the looking up, until a retry."""
        failure = Failure.of(error)
        log.warning("batch %s: %s [%s]", batch_id, failure.message, failure.code)
        if not isinstance(error, ShoalError):
            log.error("traceback of the error", exc_info=error)
        stored = failure.model_copy(update={"traceback": ""})
        self.batches.change(batch_id, lambda batch: batch.model_copy(update={"error": stored}))
        self._not_before[batch_id] = time.monotonic() + AGAIN_S
        self._let_go(batch_id)

    # --- listing ----------------------------------------------------------------------------------

    def _expand(self, batch: Batch, held: _Held) -> None:
        cursor = batch.cursor
        if cursor.uris < batch.uris:
            self._uris(batch, held)
        elif cursor.glob < len(batch.work.globs):
            self._objects(batch, held)
        else:
            self.batches.change(
                batch.id, lambda current: current.model_copy(update={"expanded_at": now()})
            )

    def _uris(self, batch: Batch, held: _Held) -> None:
        uris = self.batches.uris(batch, PAGE)
        with ThreadPoolExecutor(ASKERS) as pool:
            found = list(pool.map(lambda uri: self._looked_up(batch, uri), uris))
        specs = [each for each in found if isinstance(each, JobSpec)]
        rejected = [each for each in found if isinstance(each, BatchSkip)]
        rejected += self._submit(batch, specs, held)
        cursor = batch.cursor.model_copy(update={"uris": batch.cursor.uris + len(uris)})
        self.batches.advance(batch, cursor, seen=len(uris), rejected=rejected)

    def _looked_up(
        self, batch: Batch, uri: str, info: ObjectInfo | None = None
    ) -> JobSpec | BatchSkip:
        """
        Raises:
            ShoalError: a transient one: the page is tried again.
        """
        try:
            asked = validate_for_many(submission_of(batch.work, uri))
            found = find(uri, storage_for(uri, self._settings), self._settings, info)
            spec = specify(asked, found, self._settings)
        except ShoalError as error:
            if error.transient:
                raise
            return BatchSkip(uri=public_name(uri), reason=error.code, detail=str(error))
        self.queue.records.links.keep(spec.id, uri)
        return spec

    def _objects(self, batch: Batch, held: _Held) -> None:
        cursor = batch.cursor
        pattern = UriPattern(batch.work.globs[cursor.glob])
        listing = held.take_listing(cursor) or _Listing(pattern, cursor, self._settings)
        objects = list(islice(listing.objects, PAGE))
        specs: list[JobSpec] = []
        skipped: list[BatchSkip] = []
        rejected: list[BatchSkip] = []
        for info in objects:
            if not (listing.is_name or pattern.matches(info.uri, listing.folder)):
                continue
            found = self._unwanted(info, pattern)
            if found is not None:
                skipped.append(found)
                continue
            spec = self._looked_up(batch, info.uri, info)
            (specs if isinstance(spec, JobSpec) else rejected).append(spec)  # type: ignore[arg-type]
        rejected += self._submit(batch, specs, held)
        goes_on = len(objects) == PAGE and not listing.is_name
        if goes_on:
            after = cursor.model_copy(update={"after": objects[-1].uri})
        else:
            after = Cursor(uris=cursor.uris, glob=cursor.glob + 1)
        self.batches.advance(batch, after, seen=len(objects), skipped=skipped, rejected=rejected)
        if goes_on:  # the next pattern has a listing of its own
            listing.cursor = after
            held.listing = listing

    def _unwanted(self, info: ObjectInfo, pattern: UriPattern) -> BatchSkip | None:
        upload = UploadedObject.of(info)
        skip = unwanted(upload, self._rules.current())
        if skip:
            return BatchSkip(uri=info.uri, reason=skip.reason, detail=skip.detail)
        if not is_video(upload, pattern.below):
            return BatchSkip(uri=info.uri, reason=Reason.WRONG_SUFFIX)
        return None

    def _submit(self, batch: Batch, specs: Sequence[JobSpec], held: _Held) -> list[BatchSkip]:
        """Queue what is not known; gives those that were refused."""
        refused = []
        callback, share = batch.work.callback, batch.share
        for page in self._room.pages(batch, specs):
            known = self.queue.submit_new(page, callback=callback, batch=batch.id, share=share)
            for spec in known:
                held.keep()
                try:
                    self.queue.submit(spec, callback=callback, batch=batch.id, share=share)
                except ShoalError as error:
                    if error.transient or isinstance(error, RedisUnavailable):
                        raise
                    refused.append(BatchSkip(uri=spec.uri, reason=error.code, detail=str(error)))
        return refused

    # --- cancelling and retrying -----------------------------------------------------------------

    def _cancel(self, batch: Batch, held: _Held) -> None:
        """The jobs that wait, page by page, then those that run; what runs stops by itself."""
        held.keep()
        cancel_waiting(self.queue, batch.id, PAGE)
        waiting = self._jobs(batch, State.QUEUED, most=1)
        for record in () if waiting else self._jobs(batch, State.RUNNING, most=None):
            held.keep()
            if record.cancel_requested:
                continue
            with suppress(StateConflict, JobNotFound, UnreadableRecord):  # it has ended meanwhile
                Splits(self.queue).cancel(record.id)
        if not waiting and not self._jobs(batch, State.QUEUED):
            self.batches.change(batch.id, _cancelled)

    def _retry(self, batch: Batch, asked_at: float, held: _Held) -> None:
        """What failed before it was asked for; not again what fails again meanwhile."""
        wanted = Filter(batch=batch.id, state=State.FAILED)
        records, place = self.queue.records.page(wanted, limit=PAGE, cursor=held.place)
        for record in records:
            held.keep()
            if record.queued_at < asked_at:
                with suppress(StateConflict, JobNotFound, UnreadableRecord):
                    self.queue.retry(record.id)
        held.place = place
        if not place:

            def done(current: Batch) -> Batch:
                if current.retry_asked_at != asked_at:  # asked for once more
                    return current
                return current.model_copy(update={"retry_asked_at": None})

            self.batches.change(batch.id, done)

    def _jobs(self, batch: Batch, state: State, most: int | None = PAGE) -> Sequence[Record]:
        wanted = Filter(batch=batch.id, state=state)
        found, cursor = self.queue.records.page(wanted, limit=min(PAGE, most or PAGE))
        while cursor and most is None:
            more, cursor = self.queue.records.page(wanted, limit=PAGE, cursor=cursor)
            found += more
        return found


def _cancelled(batch: Batch) -> Batch:
    """What it waited for, to go on with, is no error of it any more."""
    error = None if batch.error and batch.error.transient else batch.error
    return batch.model_copy(update={"cancelled_at": now(), "error": error})


class _Listing:
    """A walk over the objects of a pattern, and the cursor that it stands at.

    Attributes:
        is_name: the pattern is the name of an object: that alone is meant.
    """

    def __init__(self, pattern: UriPattern, cursor: Cursor, settings: Settings) -> None:
        storage = storage_for(pattern.prefix, settings)
        self.folder = pattern.folder
        if isinstance(storage, FileStorage):  # which lists under the real path
            self.folder = storage.path(pattern.folder).as_uri().rstrip("/") + "/"
        self.cursor = cursor
        named = None if cursor.after else object_named(pattern, storage)
        self.is_name = named is not None
        self.objects: Iterator[ObjectInfo] = (
            iter((named,)) if named else storage.list(pattern.prefix, after=cursor.after)
        )


class _Held:
    """A batch that this process has, and where it is in it.

    Attributes:
        place: the cursor of a retry.
        listing: where the last page ended; none if that was not kept in Redis.
    """

    def __init__(self, lock: Lock, beat_s: float) -> None:
        self.lock = lock
        self.place = ""
        self.listing: _Listing | None = None
        self._beat_s = beat_s
        self._kept = time.monotonic()

    def keep(self) -> None:
        """Renew the lock when it is time.

        Raises:
            LockError: another process has it.
        """
        if time.monotonic() - self._kept >= self._beat_s:
            self.lock.reacquire()
            self._kept = time.monotonic()

    def take_listing(self, cursor: Cursor) -> _Listing | None:
        """The one that stands at the cursor. A page that goes wrong does not leave it behind."""
        found, self.listing = self.listing, None
        return found if found and found.cursor == cursor else None


class BatchRunnerThread(Background):
    """Runs the batches that no other API has."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        super().__init__("batch runner", IDLE_S)
        self._runner = BatchRunner(queue, rules, settings)

    def round(self) -> bool:
        return self._runner.round()

    def close(self) -> None:
        self._runner.close()
