"""The worker's parent process: takes jobs, watches over the model process, keeps the books.

It never imports a model, a codec or a numeric library: nothing it does can hold the GIL or bring
it down, so its beats are true and the death of the model process is seen at once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

from shoal import log_context, tracing
from shoal.errors import (
    LeaseLost,
    ModelLoadFailed,
    ModelProcessDied,
    OutOfMemory,
    RedisUnavailable,
    ShoalError,
    StackError,
    UnreadableRecord,
)
from shoal.local.memory import ceiling
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import now, text
from shoal.model.worker import WorkerInfo
from shoal.queue.connection import redis_errors
from shoal.queue.lease import Lease
from shoal.queue.previews import Previews
from shoal.queue.queue import JobQueue
from shoal.queue.split import Splits
from shoal.queue.workers import announce, unique_name, withdraw
from shoal.settings import Settings
from worker.attempt import Attempt, Outcome, failed, handed_over
from worker.model_handle import ModelProcess
from worker.part_remover import PartRemover
from worker.preview.relay import PreviewRelay
from worker.protocol import Failed, Ready
from worker.rq_mirror import RQMirror
from worker.workdir import WorkDir

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_S = 1  # s; how long one wait for the model or for Redis lasts
TAKE_S = 0.2  # s; for a job: signals and previews are noticed in between
RELOAD_S = 2.0  # s; model processes that die at once are started this far apart
BOOKS_S = 2.0  # s; from when a video must have stopped to the end of the process
REMOVE_S = 30.0  # s; how long the next video waits for the last one's parts to be removed
LOADS = 3  # model processes that may die in a row while they load


class Parent:
    """One worker: one job at a time, through one warm model process."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self.settings = settings
        self.queue = queue
        self.splits = Splits(queue)
        name, host = unique_name(), socket.gethostname()
        self.info = WorkerInfo(
            name=name,
            host=host,
            pid=os.getpid(),
            started_at=now(),
            hourly_price=settings.hourly_price,
        )
        self.work_dir = WorkDir(settings.work_dir, name)
        self.model = ModelProcess(
            max_memory=settings.max_memory or ceiling(), also_env=settings.model_env
        )
        previews = Previews(queue.redis, queue.name)
        self.previews = PreviewRelay(previews, self.model, self.info)
        self.remover = PartRemover(queue, settings)
        self.stopping = False
        self._stop_at = 0.0
        self.mirror = self._insist(lambda: RQMirror(queue, name, beat_s=settings.beat_s))
        self._next_beat = 0.0
        self._idle_since = self._looked_at = time.monotonic()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until it has drained or done what it was started for.

        Raises:
            ModelLoadFailed: there is nothing to serve with.
        """
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, self._on_signal)
        try:
            self._insist(self.mirror.appear)
            while not self.stopping and not self._is_done():
                if self.previews.answer_one(self._beat_if_due, lambda: self.stopping):
                    self._idle_since = time.monotonic()
                elif not self.model.alive:
                    self._load_model()
                elif job_id := self._dequeue():
                    self._attempt(job_id)
                    self._idle_since = time.monotonic()
        finally:
            self.previews.give_back()
            self.model.kill()
            self.work_dir.close()
            self._leave()
            signal.setitimer(signal.ITIMER_REAL, 0)  # while Python ends, the alarm would kill

    def _is_done(self) -> bool:
        """Whether it drains, or was started for so many jobs or so long a wait and no more."""
        most, idle_s = self.settings.max_jobs, self.settings.idle_exit_s
        if self.info.draining:
            log.info("drained")
            return True
        if 0 < most <= self.info.jobs_done:
            log.info("%d jobs done, as many as asked for", most)
            return True
        if 0 < idle_s < self._looked_at - self._idle_since:  # it may have stood still since
            log.info("no job for %.0f s", idle_s)
            return True
        return False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.settings.drain and not self.info.draining:
            self.info.draining = True
            return
        if self.stopping:  # the second one: now; the reaper gives the job to another worker
            self.model.kill()
            os._exit(128 + signum)
        self.stopping = True
        self._stop_at = time.monotonic()
        # Whatever hangs by then, a storage or Redis: no call outlasts the grace.
        signal.signal(signal.SIGALRM, self._on_end_of_grace)
        signal.setitimer(signal.ITIMER_REAL, self.settings.stop_s + BOOKS_S)

    def _on_end_of_grace(self, signum: int, frame: FrameType | None) -> None:
        log.error("not done within the grace period: the reaper requeues what is left")
        self.model.kill()
        os._exit(128 + signal.SIGTERM)

    # --- the model -------------------------------------------------------------------------------

    def _load_model(self) -> None:
        """
        Raises:
            ModelLoadFailed: it cannot be loaded, or was ended ``LOADS`` times while it was.
        """
        for number in range(1, LOADS + 1):
            try:
                self._load_once()
                break
            except ModelProcessDied as error:
                log.warning("while the model was loading, %s", error)
                if number == LOADS:
                    hint = error.hint if isinstance(error, OutOfMemory) else None
                    what = f"while the model was loading, {LOADS} times in a row: {error}"
                    raise ModelLoadFailed(what, hint=hint) from error

    def _load_once(self) -> None:
        self.model.sleep(max(0.0, RELOAD_S - self.model.age_s))
        self.model.start()
        self.info.model_loads = self.model.loads
        self._set_state("starting")
        deadline = time.monotonic() + self.settings.model_load_timeout_s
        while not self.stopping and not self.info.draining:
            self._beat_if_due()
            message = self.model.wait(POLL_S)
            if isinstance(message, Failed):
                raise ModelLoadFailed(message.failure.message, hint=message.failure.hint)
            if isinstance(message, Ready):
                self.info.engine, self.info.device = message.engine, message.device
                log.info("model ready: %s on %s", message.engine, message.device)
                self._set_state("idle")
                self._idle_since = time.monotonic()  # until now it could not have taken a job
                return
            if time.monotonic() > deadline:
                raise ModelLoadFailed("the model was not loaded in time")

    # --- jobs ------------------------------------------------------------------------------------

    def _dequeue(self) -> str | None:
        """Wait a moment for a job. A signal cuts no wait short, so none can be lost in between."""
        self._looked_at = time.monotonic()
        try:
            with redis_errors():
                self._beat_if_due()
                if self.queue.paused:
                    self.model.sleep(TAKE_S)
                    return None
                popped = self.queue.line.take(TAKE_S)
        except RedisUnavailable as error:
            log.warning("%s", error)
            self.model.sleep(POLL_S)
            return None
        job_id = text(popped) if popped else None
        if job_id and job_id.encode() != popped:  # no text, so no job of ours
            self._insist(lambda: self.queue.drop_bytes(popped))
            return None
        return job_id

    def _attempt(self, job_id: str) -> None:
        """One job, from the queue to how it ended."""
        self._beat_if_due()  # a worker that was frozen learns first whether it is to drain
        # The signal, or the pause, came together with the job.
        if self.stopping or self.info.draining or self._insist(lambda: self.queue.paused):
            self._insist(lambda: self.queue.untake(job_id))
            return
        lease = self._insist(lambda: self._take(job_id))
        if lease is None:
            log.info("job %s was cancelled, is unknown or cannot be read: skipped", job_id)
            return
        log_context.work_on(job_id)
        log.info("job %s: %s, attempt %d", job_id, lease.record.spec.uri, lease.record.attempt)
        self._set_state("busy", job_id)
        try:
            started = time.monotonic()
            with tracing.span(
                "attempt", job_id, attempt=lease.record.attempt, worker=self.info.name
            ):
                outcome = self._process(lease)
            self._insist(outcome.write)
            log.info("job %s %s, %.1f s", job_id, outcome.summary, time.monotonic() - started)
        except LeaseLost:
            log.warning("job %s is another worker's now: dropped", job_id)
        self._remove_parts(lease.record.id)
        if segment := lease.record.spec.segment:
            self._insist(lambda: self.splits.advance(segment.job))
            self._remove_parts(segment.job)
        log_context.work_on("")
        self.info.jobs_done += 1
        self._set_state("idle")

    def _take(self, job_id: str) -> Lease | None:
        info = self.info
        try:
            return Lease.take(self.queue, job_id, info.name, info.host, info.hourly_price)
        except UnreadableRecord:  # no worker can do it, or one of a later release
            self.queue.set_aside(job_id)
            self.model.sleep(POLL_S)
            return None

    def _remove_parts(self, job_id: str) -> None:
        """Remove the parts of a video that is over; a worker that lost its lease may have added
        to them since."""
        found = self._insist(lambda: self.queue.records.read_all([job_id]))
        record = found[0] if found else None
        # What a segment has made is for its job.
        is_done = record and record.state == State.SUCCEEDED and not record.spec.segment
        if not record or not (is_done or record.state == State.CANCELLED):
            return
        self.remover.start(record)
        deadline = time.monotonic() + REMOVE_S
        while not self.remover.wait(0.1) and time.monotonic() < deadline:
            self._beat_if_due()
            if self.stopping and time.monotonic() > self._stop_at + self.settings.stop_s:
                break

    def _process(self, lease: Lease) -> Outcome:
        record = lease.record
        if record.phase.waits:  # it failed, and is retried: only what failed is done again
            return handed_over(lease, record.phase, record.plan, record.segment_count)
        attempt = Attempt(
            lease,
            self.model,
            self.settings,
            source=self._insist(lambda: self.queue.records.links.find(lease.record)),
            must_go=lambda: self.stopping,
            on_beat=self._beat,
            previews=self.previews,
        )
        try:
            self.mirror.start(lease.record.id)
            with self.work_dir.job(lease.record.id) as folder:
                return attempt.run(folder)
        except ShoalError as error:
            return failed(lease, Failure.of(error))
        finally:
            self.mirror.end()

    # --- what others see -------------------------------------------------------------------------

    def _set_state(self, state: str, job_id: str = "") -> None:
        self.info.state, self.info.job = state, job_id
        self._next_beat = 0.0
        self._beat_if_due()

    def _beat_if_due(self) -> None:
        if time.monotonic() >= self._next_beat:
            try:
                self._beat()
            except RedisUnavailable as error:
                log.warning("%s", error)
            self._next_beat = time.monotonic() + self.settings.beat_s

    def _beat(self) -> None:
        """Show that this worker is alive.

        Raises:
            RedisUnavailable
        """
        self.info.beat_at = now()
        with redis_errors():
            drain = announce(self.queue.redis, self.queue.name, self.info, self.settings.lease_s)
            if drain and not self.info.draining:
                log.info("asked to drain, or the pool was scaled to 0")
                self.info.draining = True
            self.mirror.beat()
            self.queue.release_due()

    def _insist(self, write: Callable[[], T]) -> T:
        """Do it, however long Redis is away; a worker that must go tries for its grace.

        Raises:
            RedisUnavailable: the grace is over; the reaper will find the job.
        """
        while True:
            try:
                with redis_errors():
                    return write()
            except RedisUnavailable as error:
                if self.stopping and time.monotonic() > self._stop_at + self.settings.grace_s:
                    raise
                log.warning("%s: trying again", error)
                self.model.sleep(POLL_S)

    def _leave(self) -> None:
        try:
            with redis_errors():
                self.mirror.vanish()
                withdraw(self.queue.redis, self.queue.name, self.info.name)
        except RedisUnavailable as error:
            log.warning("left without saying so: %s", error)


def process_video(job_id: str) -> NoReturn:
    """What the queue's entries name. Shoal's worker never calls it: it goes by the record.

    Raises:
        StackError: always: a stock RQ worker took the job.
    """
    raise StackError(
        f"job {job_id} was taken by a stock RQ worker",
        hint="Serve this queue with 'shoal worker', and with nothing else.",
    )
