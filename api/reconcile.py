"""Videos in the buckets that no event led to: found, and queued.

``reconcile`` walks what the rules cover and queues every video that has neither results nor a
job. ``SweepThread`` does it again and again, in one API process at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from api.metrics import INGESTED
from shoal.errors import RedisUnavailable, ShoalError, SourceNotFound
from shoal.intake import Reason, Skip, Upload, judge
from shoal.jobs import JobSpec
from shoal.queue import JobQueue, redis_errors
from shoal.results import metadata_name, result_uri
from shoal.rules import Rules
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from shoal.storage import ObjectInfo, storage_for
from shoal.wire import Found, SweepPage

T = TypeVar("T")

PAGE = 500  # objects looked at together
ASKERS = 8  # requests for results at a time
SETTLED_S = 5.0  # a file that changed less long ago may still be written
DONE_KEPT_S = 7 * 24 * 3600  # how long it is remembered that a video has results
STOP_WAIT_S = 5.0

log = logging.getLogger(__name__)


def reconcile(
    queue: JobQueue, rules: Rules, settings: Settings, *, dry_run: bool = False
) -> Iterator[SweepPage]:
    """Queue the videos that have neither results nor a job. One page of objects is held at a time.

    Yields:
        After every page what was queued (or would be), with the counts so far; the last one is
        ``complete``. A bucket that cannot be listed is named, and the others go on.

    Raises:
        RedisUnavailable
    """
    sweep = _Sweep(queue, rules, settings, dry_run)
    for prefix in _prefixes(rules):
        try:
            for objects in _paged(storage_for(prefix, settings).list(prefix), PAGE):
                yield sweep.page(objects)
        except RedisUnavailable:
            raise
        except ShoalError as error:
            sweep.unreadable[prefix] = str(error)
    for rule in rules.items:
        if rule.is_pattern_of_buckets:
            sweep.unreadable[rule.bucket] = "a pattern of buckets: only events are taken"
    yield sweep.report(complete=True)


class _Sweep:
    """The counts of one sweep, and what is done with a page of objects."""

    def __init__(self, queue: JobQueue, rules: Rules, settings: Settings, dry_run: bool) -> None:
        self.queue = queue
        self.rules = rules
        self.settings = settings
        self.dry_run = dry_run
        self.unreadable: dict[str, str] = {}
        self.skipped: dict[str, int] = {}
        self.objects = self.matched = self.missing = 0
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
            missing = self._without_results(self._without_job(specs))
            if not self.dry_run:
                missing = [spec for spec in missing if self._submit(spec)]
                INGESTED.labels("sweep", "queued").inc(len(missing))
        self.objects += len(objects)
        self.matched += len(specs)
        self.missing += len(missing)
        return self.report([Found(uri=spec.uri, job=spec.id) for spec in missing])

    def _submit(self, spec: JobSpec) -> bool:
        callback = self.rules.callback_of(spec.uri)
        return self.queue.submit(spec, callback=callback, again=False)[1]

    def report(self, queued: Sequence[Found] = (), *, complete: bool = False) -> SweepPage:
        return SweepPage(
            queued=list(queued),
            unreadable=self.unreadable,
            objects=self.objects,
            matched=self.matched,
            missing=self.missing,
            skipped=self.skipped,
            complete=complete,
        )

    def _judged(self, info: ObjectInfo) -> JobSpec | Skip:
        if info.uri.startswith("file:") and abs(time.time() - info.updated_at) < SETTLED_S:
            return Skip(info.uri, Reason.CHANGING)
        return judge(Upload.of(info), self.rules, self.settings)

    def _without_job(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        pipe = self.queue.redis.pipeline(transaction=False)
        for spec in specs:
            pipe.exists(self.queue.records.key(spec.id))
            pipe.sismember(self._done_key, spec.id)
        answers = pipe.execute()
        known = [job or done for job, done in zip(answers[::2], answers[1::2], strict=True)]
        return [spec for spec, there in zip(specs, known, strict=True) if not there]

    def _without_results(self, specs: Sequence[JobSpec]) -> list[JobSpec]:
        if not specs:
            return []
        with ThreadPoolExecutor(ASKERS) as pool:
            done = list(pool.map(self._has_results, specs))
        if found := [spec.id for spec, there in zip(specs, done, strict=True) if there]:
            self.queue.redis.sadd(self._done_key, *found)
            self.queue.redis.expire(self._done_key, DONE_KEPT_S, nx=True)
        return [spec for spec, there in zip(specs, done, strict=True) if not there]

    def _has_results(self, spec: JobSpec) -> bool:
        uri = result_uri(spec, metadata_name(spec))
        try:
            storage_for(uri, self.settings).stat(uri)
        except SourceNotFound:
            return False
        return True


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


class SweepThread(threading.Thread):
    """Reconciles every ``SHOAL_SWEEP_S``. Of several API processes the one sweeps that comes first:
    it sets a key that lasts until the next sweep is due."""

    def __init__(self, queue: JobQueue, rules: RulesFile, settings: Settings) -> None:
        super().__init__(name="sweep", daemon=True)
        self._queue = queue
        self._rules = rules
        self._settings = settings
        self._key = f"{queue.name}:sweep"
        self._stop_asked = threading.Event()

    def run(self) -> None:
        every = self._settings.sweep_s
        while every and not self._stop_asked.wait(min(every / 4, 5.0)):
            try:
                with redis_errors():
                    if self._rules.current().items and self._is_due():
                        self._sweep()
            except RedisUnavailable:
                continue  # the reaper says so
            except Exception:
                log.exception("the sweep failed, the next one is due in %.0f s", every)

    def stop(self) -> None:
        """End it after the page it is at, if that does not take long."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(STOP_WAIT_S)

    def _is_due(self) -> bool:
        length = max(1, int(self._settings.sweep_s * 1000))
        return bool(self._queue.redis.set(self._key, "swept", nx=True, px=length))

    def _sweep(self) -> None:
        page = SweepPage()
        for page in reconcile(self._queue, self._rules.current(), self._settings):
            # While it goes on nobody else begins.
            self._queue.redis.pexpire(self._key, max(1, int(self._settings.sweep_s * 1000)))
            for found in page.queued:
                log.info("found without results or a job: %s", found.uri)
            if self._stop_asked.is_set():
                self._queue.redis.delete(self._key)  # the next process goes on
                return
        for where, why in page.unreadable.items():
            log.warning("not swept: %s: %s", where, why)
