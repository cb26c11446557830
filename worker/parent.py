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

from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job

from shoal import log_context, tracing
from shoal.errors import (
    Failure,
    LeaseLost,
    ModelLoadFailed,
    ModelProcessDied,
    RedisUnavailable,
    ShoalError,
    StackError,
    UnknownFunction,
)
from shoal.jobs import State
from shoal.lease import Lease
from shoal.parts import remove_parts
from shoal.queue import PROCESS, JobQueue, redis_errors
from shoal.records import now, text
from shoal.settings import Settings
from shoal.storage.files import writing
from shoal.workers import WorkerInfo, announce, unique_name, withdraw
from worker.attempt import Attempt, Outcome, failed
from worker.child import ModelProcess
from worker.link import Failed, Ready
from worker.rq_mirror import RQMirror
from worker.workdir import WorkDir

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_S = 1  # s; how long one wait for a job lasts: a signal is noticed within it
RELOAD_S = 2.0  # s; model processes that die at once are started this far apart


class Parent:
    """One worker: one job at a time, through one warm model process."""

    def __init__(self, settings: Settings, queue: JobQueue) -> None:
        self.settings = settings
        self.queue = queue
        name, host = unique_name(), socket.gethostname()
        self.info = WorkerInfo(
            name=name,
            host=host,
            pid=os.getpid(),
            started_at=now(),
            hourly_price=settings.hourly_price,
        )
        self.work_dir = WorkDir(settings.work_dir, name)
        if not settings.results:  # a results folder that is missing later was moved
            with writing(str(settings.data_dir)):
                settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.model = ModelProcess()
        self.mirror = RQMirror(queue, name, beat_s=settings.beat_s)
        self.stopping = False
        self._stop_at = 0.0
        self._job: Job | None = None
        self._next_beat = 0.0
        self._idle_since = time.monotonic()

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
                if not self.model.alive:
                    self._load_model()
                elif job_id := self._dequeue():
                    self._attempt(job_id)
                    self._idle_since = time.monotonic()
        finally:
            self.model.kill()
            self.work_dir.close()
            self._leave()

    def _is_done(self) -> bool:
        """Whether it drains, or was started for so many jobs or so long a wait and no more."""
        most, idle_s = self.settings.max_jobs, self.settings.idle_exit_s
        if self.info.draining:
            log.info("drained")
            return True
        if 0 < most <= self.info.jobs_done:
            log.info("%d jobs done, as many as asked for", most)
            return True
        if 0 < idle_s < time.monotonic() - self._idle_since:
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

    # --- the model -------------------------------------------------------------------------------

    def _load_model(self) -> None:
        self.model.sleep(max(0.0, RELOAD_S - self.model.age_s))
        self.model.start()
        self.info.model_loads = self.model.loads
        self._set_state("starting")
        deadline = time.monotonic() + self.settings.model_load_timeout_s
        while not self.stopping and not self.info.draining:
            self._beat_if_due()
            try:
                message = self.model.wait(POLL_S)
            except ModelProcessDied as error:
                raise ModelLoadFailed(f"while the model was loading, {error}") from error
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
        rq = self.queue.rq
        try:
            with redis_errors():
                self._beat_if_due()
                if self.queue.paused:
                    self.model.sleep(POLL_S)
                    return None
                popped = self.queue.redis.blmove(rq.key, rq.intermediate_queue_key, POLL_S)
        except RedisUnavailable as error:
            log.warning("%s", error)
            self.model.sleep(POLL_S)
            return None
        return text(popped) if popped else None

    def _attempt(self, job_id: str) -> None:
        """One job, from the queue to how it ended."""
        # The signal, or the pause, came together with the job.
        if self.stopping or self.info.draining or self._insist(lambda: self.queue.paused):
            self._insist(lambda: self.queue.untake(job_id))
            return
        lease = self._insist(lambda: self._take(job_id))
        if lease is None:
            log.info("job %s was cancelled or is unknown: skipped", job_id)
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
        self._remove_parts(lease)
        log_context.work_on("")
        self.info.jobs_done += 1
        self._set_state("idle")

    def _take(self, job_id: str) -> Lease | None:
        info = self.info
        return Lease.take(self.queue, job_id, info.name, info.host, info.hourly_price)

    def _remove_parts(self, lease: Lease) -> None:
        """Remove the parts of a video that is over; a worker that lost its lease may have added
        to them since."""
        record = self._insist(lambda: self.queue.records.find(lease.record.id))
        if record and record.state in (State.SUCCEEDED, State.CANCELLED):
            remove_parts(record.spec, self.settings)

    def _process(self, lease: Lease) -> Outcome:
        attempt = Attempt(
            lease,
            self.model,
            self.settings,
            must_go=lambda: self.stopping,
            on_beat=self._beat,
        )
        try:
            self._job = self._rq_job(lease)
            with self.work_dir.job(lease.record.id) as folder:
                return attempt.run(folder)
        except ShoalError as error:
            return failed(lease, Failure.of(error))
        finally:
            self._end_mirror()

    def _rq_job(self, lease: Lease) -> Job | None:
        """The RQ job behind the lease, shown as started; it must be one that Shoal made.

        Raises:
            UnknownFunction: it calls for something else.
        """
        try:
            with redis_errors():
                serializer = self.queue.rq.serializer
                job = Job.fetch(lease.record.id, self.queue.redis, serializer)
                if job.func_name != PROCESS:
                    raise UnknownFunction(f"the queue's entry calls {job.func_name}")
                self.mirror.started(job)
        except DeserializationError as error:
            raise UnknownFunction("the queue's entry is not Shoal's") from error
        except (NoSuchJobError, RedisUnavailable) as error:
            log.warning("RQ's tables do not show job %s: %s", lease.record.id, error)
            return None
        return job

    def _end_mirror(self) -> None:
        job, self._job = self._job, None
        if job is None:
            return
        try:
            with redis_errors():
                self.mirror.ended(job)
        except RedisUnavailable as error:
            log.warning("%s", error)

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
                log.info("asked to drain")
                self.info.draining = True
            self.mirror.beat(self._job)

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
