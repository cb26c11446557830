"""Finds videos in buckets without a job, and queues them.

``reconcile`` walks what the rules cover and queues every video that has neither results nor a
job. ``ReconcileThread`` does it again and again, in one API process at a time.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

from api.background.base import Background
from api.routes.metrics import INGESTED
from shoal.client.schemas import Found, SweepPage
from shoal.errors import RedisUnavailable, ShoalError, SourceNotFound, StorageForbidden
from shoal.ingest.decide import (
    Reason,
    Skip,
    UploadedObject,
    judge,
    lacks_metadata,
    unwanted,
)
from shoal.ingest.rules import Rules
from shoal.ingest.rules_file import RulesFile
from shoal.model.job import JobSpec
from shoal.model.record import text
from shoal.queue.connection import redis_errors
from shoal.queue.ingested import Ingested
from shoal.queue.queue import JobQueue
from shoal.results.layout import metadata_name, result_uri
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for

T = TypeVar("T")

PAGE = 500  # files scanned together
COUNTED = 2000  # objects that are listed while somebody waits for a count ...
COUNTED_PAGE = 100
COUNTING_S = 3.0  # ... and for how long: less than a request may wait for a storage
ASKERS = 8  # requests for results at a time
SETTLED_S = 5.0  # a file that changed less long ago may still be written
DONE_KEPT_S = 7 * 24 * 3600  # how long it is remembered that a video has results

log = logging.getLogger(__name__)


def reconcile(
    queue: JobQueue,
    rules: Rules,
    settings: Settings,
    *,
    dry_run: bool = False,
    again: bool = False,
    page: int = PAGE,
) -> Iterator[SweepPage]:
    """Queue the videos that have neither results nor a job. One page of objects is held at a time.

    Args:
        again: also those that became a job by other prompts or options of their rule.
        page: how many objects are looked at together.

    Yields:
        After every page what was queued (or would be), with the counts so far; the last one is
        ``complete``. A bucket that cannot be listed is named, and the others go on.

    Raises:
        RedisUnavailable
    """
    sweep = _Reconcile(queue, rules, settings, dry_run, again)
    for prefix in _prefixes(rules):
        try:
            for objects in _paged(storage_for(prefix, settings).list(prefix), page):
                yield sweep.page(objects)
        except RedisUnavailable:
            raise
        except ShoalError as error:
            sweep.unreadable[prefix] = str(error)
    for rule in rules.items:
        if rule.is_pattern_of_buckets:
            sweep.unreadable[rule.bucket] = "the rule has a bucket pattern, which cannot be listed"
    yield sweep.finish()


def count(queue: JobQueue, rules: Rules, settings: Settings) -> SweepPage:
    """How many videos the next sweep would queue; ``complete`` unless it is only those found among
    the first ``COUNTED`` objects, or within ``COUNTING_S``.

    Raises:
        RedisUnavailable
    """
    ends_at = time.monotonic() + COUNTING_S
    found = SweepPage()
    for found in reconcile(queue, rules, settings, dry_run=True, page=COUNTED_PAGE):
        if found.objects >= COUNTED or time.monotonic() >= ends_at:
            break
    return found


class _Reconcile:
    """The counts of one sweep, and what is done with a page of objects."""

    def __init__(
        self, queue: JobQueue, rules: Rules, settings: Settings, dry_run: bool, again: bool
    ) -> None:
        self.queue = queue
        self.rules = rules
        self.settings = settings
        self.dry_run = dry_run
        self.again = again
        self.ingested = Ingested(queue.redis, queue.name)
        self.unreadable: dict[str, str] = {}
        self.skipped: dict[str, int] = {}
        self.objects = self.matched = self.missing = self.changed = 0
        # Ids of jobs whose results were seen although Redis knew no job.
        self._done_key = f"{queue.name}:swept"

    def page(self, objects: Sequence[ObjectInfo]) -> SweepPage:
        specs = []
        for info in objects:
            found = self._judged(info)
            if isinstance(found, Skip):
                self.skipped[found.reason] = self.skipped.get(found.reason, 0) + 1
            else:
                specs.append(found)
        with redis_errors():
            missing = self._without_job(specs)
            earlier = self.ingested.earlier(missing)
            if not self.again:
                missing = [spec for spec in missing if spec.id not in earlier]
            missing = self._without_results(missing)
            if not self.dry_run:
                missing = [spec for spec in missing if self._submit(spec)]
                INGESTED.labels("sweep", "queued").inc(len(missing))
                self.ingested.note(specs, {} if self.again else earlier)
        self.objects += len(objects)
        self.matched += len(specs)
        self.missing += len(missing)
        self.changed += len(earlier)
        return self.report([Found(uri=spec.uri, job=spec.id) for spec in missing])

    def _submit(self, spec: JobSpec) -> bool:
        callback, share = self.rules.terms_of(spec.uri)
        return self.queue.submit(spec, callback=callback, again=False, share=share)[1]

    def finish(self) -> SweepPage:
        """Keep, for the page of the rules, how many uploads an edited rule left out."""
        with redis_errors():
            left = 0 if self.again and not self.dry_run else self.changed
            self.queue.redis.set(changed_key(self.queue), left)
        return self.report(complete=True)

    def report(self, queued: Sequence[Found] = (), *, complete: bool = False) -> SweepPage:
        return SweepPage(
            queued=list(queued),
            unreadable=self.unreadable,
            objects=self.objects,
            matched=self.matched,
            missing=self.missing,
            changed=self.changed,
            skipped=self.skipped,
            complete=complete,
        )

    def _judged(self, info: ObjectInfo) -> JobSpec | Skip:
        if info.uri.startswith("file:") and abs(time.time() - info.updated_at) < SETTLED_S:
            return Skip(info.uri, Reason.CHANGING)
        return judge(UploadedObject.of(info), self.rules, self.settings)

    def _without_job(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        pipe = self.queue.redis.pipeline(transaction=False)
        for spec in specs:
            pipe.exists(self.queue.records.key(spec.id))
            pipe.sismember(self._done_key, spec.id)
            pipe.zscore(self.queue.deleted_key, spec.id)
        found = iter(pipe.execute())
        known = [job or done or gone for job, done, gone in zip(found, found, found, strict=True)]
        return [spec for spec, there in zip(specs, known, strict=True) if not there]

    def _without_results(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        if not specs:
            return []
        with ThreadPoolExecutor(ASKERS) as pool:
            # In this call's context: where somebody waits, storages are asked hastily.
            contexts = [copy_context() for _ in specs]
            done = list(
                pool.map(lambda context, spec: context.run(self._is_done, spec), contexts, specs)
            )
        if found := [spec.id for spec, there in zip(specs, done, strict=True) if there]:
            self.queue.redis.sadd(self._done_key, *found)
            self.queue.redis.expire(self._done_key, DONE_KEPT_S, nx=True)
        return [spec for spec, there in zip(specs, done, strict=True) if not there]

    def _is_done(self, spec: JobSpec) -> bool:
        return self._has_results(spec) or self._is_own_result(spec)

    def _is_own_result(self, spec: JobSpec) -> bool:
        """Whether it is a copy of a result: metadata tells, which S3's listings lack."""
        upload = UploadedObject(spec.uri)
        if not lacks_metadata(upload):
            return False
        try:
            info = storage_for(spec.uri, self.settings).stat(spec.uri)
        except SourceNotFound:
            return True  # deleted meanwhile: there is nothing to do
        except StorageForbidden:
            return False  # the workers may read it
        found = unwanted(UploadedObject.of(info), self.rules)
        return found is not None and found.reason is Reason.OWN_RESULT

    def _has_results(self, spec: JobSpec) -> bool:
        uri = result_uri(spec, metadata_name(spec))
        try:
            storage_for(uri, self.settings).stat(uri)
        except SourceNotFound:
            return False
        return True


def changed_key(queue: JobQueue) -> str:
    """Where the last sweep has kept its ``SweepPage.changed``."""
    return f"{queue.name}:sweep:changed"


def _prefixes(rules: Rules) -> list[str]:
    """What to list: no prefix that lies within another one."""
    wanted = sorted({rule.prefix for rule in rules.items if not rule.is_pattern_of_buckets})
    outermost: list[str] = []
    for prefix in wanted:
        if not outermost or not prefix.startswith(outermost[-1]):
            outermost.append(prefix)
    return outermost


def _paged(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while page := list(islice(iterator, size)):
        yield page


class ReconcileThread(Background):
    """Reconciles every ``SHOAL_SWEEP_S``. Of several API processes the one sweeps that comes first:
    it sets a key that lasts until the next sweep is due."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        super().__init__("reconcile", min(settings.sweep_s / 4, 5.0))
        self._queue = queue
        self._rules = rules
        self._settings = settings
        self._key = f"{queue.name}:sweep"
        self._token = uuid.uuid4().hex  # of the next sweep: one that was cut off is made again

    def round(self) -> bool:
        if self._rules.current().items and self._is_due():
            self._sweep()
            self._token = uuid.uuid4().hex
        return False

    def _is_due(self) -> bool:
        redis = self._queue.redis
        if redis.set(self._key, self._token, nx=True, px=self._every_ms):
            return True
        return text(redis.get(self._key) or "") == self._token

    @property
    def _every_ms(self) -> int:
        return max(1, int(self._settings.sweep_s * 1000))

    def _sweep(self) -> None:
        page = SweepPage()
        for page in reconcile(self._queue, self._rules.current(), self._settings):
            # While it goes on nobody else begins.
            self._queue.redis.pexpire(self._key, self._every_ms)
            for found in page.queued:
                log.info("queued a video without results or a job: %s", found.uri)
            if self.stop_asked.is_set():
                self._queue.redis.delete(self._key)  # the next process goes on
                return
        for where, why in page.unreadable.items():
            log.warning("cannot list %s: %s", where, why)
