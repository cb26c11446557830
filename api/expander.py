"""The thread that carries out batches: looks up their videos, queues, cancels and retries them.

Every API has one. A batch is one API's at a time, by a lock that lapses when that API dies; each
page that was dealt with is kept in Redis, and the next API goes on after it. A page that was begun
is begun again: its jobs are known by then, and stay the ones they are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

from redis.exceptions import LockError
from redis.lock import Lock

from api.desk import check_asked, find, specify
from shoal.batch_wire import BatchSkip, submission_of
from shoal.batches import Batch, Batches, Cursor
from shoal.errors import (
    BatchNotFound,
    Failure,
    JobNotFound,
    RedisUnavailable,
    ShoalError,
    StateConflict,
)
from shoal.globs import UriPattern
from shoal.indexes import Filter
from shoal.intake import Reason, Upload, is_video, unwanted
from shoal.jobs import JobSpec, State
from shoal.parts import remove_parts
from shoal.queue import JobQueue, redis_errors
from shoal.records import Record, now
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for
from shoal.storage.files import FileStorage

PAGE = 200  # objects, URIs or jobs that are dealt with together
ASKERS = 8  # URIs looked up at a time
IDLE_S = 0.5  # between two looks for something to do
AGAIN_S = 10.0  # after storage was away
STOP_WAIT_S = 5.0

log = logging.getLogger(__name__)


class Expander:
    """Gives each open batch a page of work in turn."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        self.queue = queue
        self.batches = Batches(queue)
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
            held.keep()
            batch = self.batches.get(batch_id)
            if batch.is_cancelling:
                self._cancel(batch, held)
            elif batch.retry_asked_at is not None:
                self._retry(batch, batch.retry_asked_at, held)
            elif batch.is_expanding:
                self._expand(batch, held)
        except (LockError, BatchNotFound):
            self._held.pop(batch_id)  # another API was faster
        except RedisUnavailable:
            raise
        except Exception as error:  # a fault with one must not keep the others waiting
            self._stumble(batch_id, error)
        return True

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
            log.error("what went wrong", exc_info=error)
        told = failure.model_copy(update={"traceback": ""})
        self.batches.change(batch_id, lambda batch: batch.model_copy(update={"error": told}))
        self._not_before[batch_id] = time.monotonic() + AGAIN_S
        self._let_go(batch_id)

    # --- looking up ------------------------------------------------------------------------------

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
            asked = check_asked(submission_of(batch.work, uri))
            found = find(uri, storage_for(uri, self._settings), self._settings, info)
            return specify(asked, found, self._settings)
        except ShoalError as error:
            if error.transient:
                raise
            return BatchSkip(uri=uri, reason=error.code, detail=str(error))

    def _objects(self, batch: Batch, held: _Held) -> None:
        cursor = batch.cursor
        pattern = UriPattern(batch.work.globs[cursor.glob])
        listing = held.take_listing(cursor) or _Listing(pattern, cursor, self._settings)
        objects = list(islice(listing.objects, PAGE))
        specs: list[JobSpec] = []
        skipped: list[BatchSkip] = []
        rejected: list[BatchSkip] = []
        for info in objects:
            if not pattern.matches(info.uri, listing.folder):
                continue
            found = self._unwanted(info, pattern)
            if found is not None:
                skipped.append(found)
                continue
            spec = self._looked_up(batch, info.uri, info)
            (specs if isinstance(spec, JobSpec) else rejected).append(spec)  # type: ignore[arg-type]
        rejected += self._submit(batch, specs, held)
        if len(objects) == PAGE:
            after = cursor.model_copy(update={"after": objects[-1].uri})
        else:
            after = Cursor(uris=cursor.uris, glob=cursor.glob + 1)
        self.batches.advance(batch, after, seen=len(objects), skipped=skipped, rejected=rejected)
        listing.cursor = after
        held.listing = listing

    def _unwanted(self, info: ObjectInfo, pattern: UriPattern) -> BatchSkip | None:
        upload = Upload.of(info)
        skip = unwanted(upload, self._rules.current())
        if skip:
            return BatchSkip(uri=info.uri, reason=skip.reason, detail=skip.detail)
        if not is_video(upload, pattern.below):
            return BatchSkip(uri=info.uri, reason=Reason.WRONG_SUFFIX)
        return None

    def _submit(self, batch: Batch, specs: Sequence[JobSpec], held: _Held) -> list[BatchSkip]:
        """Queue what is not known; gives those that were refused."""
        refused = []
        callback = batch.work.callback
        for spec in self.queue.submit_new(specs, callback=callback, batch=batch.id):
            held.keep()
            try:
                self.queue.submit(spec, callback=callback, batch=batch.id)
            except ShoalError as error:
                if error.transient or isinstance(error, RedisUnavailable):
                    raise
                refused.append(BatchSkip(uri=spec.uri, reason=error.code, detail=str(error)))
        return refused

    # --- cancelling and retrying -----------------------------------------------------------------

    def _cancel(self, batch: Batch, held: _Held) -> None:
        """The jobs that wait, page by page, then those that run; what runs stops by itself."""
        waiting = self._jobs(batch, State.QUEUED)
        for record in waiting or self._jobs(batch, State.RUNNING, most=None):
            held.keep()
            if record.cancel_requested:
                continue
            with suppress(StateConflict, JobNotFound):  # it has ended meanwhile
                cancelled = self.queue.cancel(record.id)
                if cancelled.state == State.CANCELLED and cancelled.attempt:
                    remove_parts(cancelled.spec, self._settings)
        if not waiting and not self._jobs(batch, State.QUEUED):
            self.batches.change(
                batch.id, lambda current: current.model_copy(update={"cancelled_at": now()})
            )

    def _retry(self, batch: Batch, asked_at: float, held: _Held) -> None:
        """What failed before it was asked for; not again what fails again meanwhile."""
        wanted = Filter(batch=batch.id, state=State.FAILED)
        records, place = self.queue.records.page(wanted, limit=PAGE, cursor=held.place)
        for record in records:
            held.keep()
            if record.queued_at < asked_at:
                with suppress(StateConflict, JobNotFound):
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
        found, cursor = self.queue.records.page(wanted, limit=PAGE)
        while cursor and most is None:
            more, cursor = self.queue.records.page(wanted, limit=PAGE, cursor=cursor)
            found += more
        return found


class _Listing:
    """A walk over the objects of a pattern, and the cursor that it stands at."""

    def __init__(self, pattern: UriPattern, cursor: Cursor, settings: Settings) -> None:
        storage = storage_for(pattern.prefix, settings)
        self.folder = pattern.folder
        if isinstance(storage, FileStorage):  # which lists under the real path
            self.folder = storage.path(pattern.folder).as_uri().rstrip("/") + "/"
        self.cursor = cursor
        self.objects: Iterator[ObjectInfo] = storage.list(pattern.prefix, after=cursor.after)


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


class ExpanderThread(threading.Thread):
    """Redis being away is waited out: the reaper says so."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        super().__init__(name="expander", daemon=True)
        self._expander = Expander(queue, rules, settings)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._stop_asked.wait(pause):
            try:
                pause = 0.0 if self._expander.round() else IDLE_S
            except RedisUnavailable:
                pause = IDLE_S
            except Exception:
                log.exception("the batches wait for %.0f s", AGAIN_S)
                pause = AGAIN_S
        self._expander.close()

    def stop(self) -> None:
        """End it after the page it is at, if that does not take long."""
        self._stop_asked.set()
        self.join(STOP_WAIT_S)
