"""The parent's side of one attempt: watch the model process work on one video."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from shoal.errors import JobTimeout, ModelProcessDied, ModelStalled, RedisUnavailable
from shoal.model.failure import Failure
from shoal.model.record import Phase, Progress
from shoal.queue.lease import Lease
from shoal.settings import Settings
from worker.model_handle import ModelProcess
from worker.preview.relay import PreviewRelay
from worker.protocol import (
    Beat,
    Commit,
    CommitGranted,
    Done,
    EventReport,
    Failed,
    FromJob,
    FromModel,
    HandOver,
    JobStopped,
    Report,
    Run,
    Stop,
    StopReason,
)

log = logging.getLogger(__name__)

WAIT_S = 0.2  # for a message, before previews are looked for again
PROGRESS_S = 0.5  # progress is written at most this often
TRANSFERS = ("fetch", "part", "publish")  # stages that may rightly take long without any progress
STOP_S = 10.0  # how long a cancelled or timed out video may take to reach its next frame


class Outcome(NamedTuple):
    """How an attempt ended: in words for the log, and as the write to the job's record."""

    summary: str
    write: Callable[[], None]


class Attempt:
    """Runs a leased job in the model process, until it ends one way or another.

    Args:
        source: as ``Run.source``.
    """

    def __init__(
        self,
        lease: Lease,
        model: ModelProcess,
        settings: Settings,
        *,
        source: str = "",
        must_go: Callable[[], bool],
        on_beat: Callable[[], None],
        previews: PreviewRelay | None = None,
    ) -> None:
        self.lease = lease
        self.model = model
        self.settings = settings
        self._source = source
        self.must_go = must_go
        self.on_beat = on_beat
        self.previews = previews
        self.progress = Progress(stage="starting")
        self.why: StopReason | None = None
        self._cancel = False
        self._wants_to_commit = False
        self._started = time.monotonic()
        self._next_beat = 0.0
        self._last_write = 0.0
        self._kill_at = float("inf")
        self._stalls_at = self._started + settings.stall_s
        model.log_tail.clear()

    def run(self, work_dir: Path) -> Outcome:
        """
        Returns:
            How it ended, not yet written to the job's record.

        Raises:
            LeaseLost: the job is somebody else's by now.
        """
        record = self.lease.record
        self.model.send(
            Run(
                spec=record.spec,
                job=record.id,
                worker=record.worker,
                attempt=record.attempt,
                model_loads=self.model.loads,
                phase=record.phase,
                plan=record.plan,
                segments=record.segment_count,
                automatic=record.share.is_of_rule,
                source=self._source,
                work_dir=str(work_dir),
            )
        )
        try:
            return self._watch()
        except BaseException:
            self.model.kill()  # nobody watches it any more
            raise

    def _watch(self) -> Outcome:
        while True:
            self._beat_if_due()
            self._stop_if_asked()
            self._grant_if_owned()
            if self.previews and not self.why:
                self.previews.poll()
            if not self.why and time.monotonic() > self._stalls_at:
                return self._outcome_of_stall()
            if time.monotonic() > self._kill_at:
                log.warning("the model process did not stop in time: %s", self.why)
                self.model.kill()
                return self._outcome_of_stop()
            try:
                message = self.model.wait(min(WAIT_S, self.settings.beat_s))
            except ModelProcessDied as error:
                if self.previews:
                    self.previews.fail(error)
                return self._outcome_of_death(error)
            if self.previews and self.previews.hear(message):
                continue
            if message and not self._is_expected(message):
                self.model.kill()
                what = f"'{message.kind}' out of order"
                return self._outcome_of_death(ModelProcessDied(f"the model process sent {what}"))
            if isinstance(message, Report):
                self._advance(message.progress)
            elif isinstance(message, Beat):
                self._stalls_at = max(self._stalls_at, time.monotonic() + self.settings.stall_s)
            elif isinstance(message, Commit):
                self._wants_to_commit = True
            elif isinstance(message, EventReport):
                self._tell(message)
            elif outcome := self._outcome_of(message):
                return outcome

    def _is_expected(self, message: FromModel) -> bool:
        """Whether a message may come now: not of a process that loads, nor about another job."""
        if not isinstance(message, FromJob):
            return False
        return message.job in ("", self.lease.record.id)

    def _advance(self, progress: Progress) -> None:
        progress.forecast = progress.forecast.priced(self.lease.record.hourly_price)
        if progress.stage in TRANSFERS:
            self._stalls_at = float("inf")  # the storage's client has time limits of its own
        elif progress != self.progress:
            self._stalls_at = time.monotonic() + self.settings.stall_s
        self.progress = progress

    def _beat_if_due(self) -> None:
        """Renew the lease; learn of a wish to cancel; write progress when there is some."""
        at = time.monotonic()
        fresh = self.progress != self.lease.record.progress and at - self._last_write >= PROGRESS_S
        if at < self._next_beat and not fresh:
            return
        try:
            self._cancel = self.lease.heartbeat(self.progress) or self._cancel
            self.lease.record.progress = self.progress
            self._last_write = at
            if at >= self._next_beat:
                self.on_beat()
                self._next_beat = at + self.settings.beat_s
        except RedisUnavailable as error:
            # The video goes on: the lease may well be ours still when Redis is back.
            log.warning("%s", error)
            self._next_beat = self._last_write = at + min(1.0, self.settings.beat_s)

    def _grant_if_owned(self) -> None:
        """Let the model process commit, once Redis confirms that the job is still ours and wanted.

        After the last commit the results are complete, and a wish to cancel comes too late.
        """
        if not self._wants_to_commit:
            return
        try:
            self._cancel = self.lease.check() or self._cancel
        except RedisUnavailable as error:
            log.warning("%s: nothing is published meanwhile", error)
            waits_until = time.monotonic() + self.settings.stall_s  # for us, not in vain
            self._stalls_at = max(self._stalls_at, waits_until)
            return
        if self._cancel:
            return  # it waits, and is stopped
        self._wants_to_commit = False
        self.model.send(CommitGranted())

    def _tell(self, message: EventReport) -> None:
        try:
            self.lease.record_event(message.event, **message.detail)
        except RedisUnavailable as error:
            log.warning("%s: the timeline lacks %r", error, message.event)

    def _stop_if_asked(self) -> None:
        """Tell the model process once; what a user cancels need not be saved, either."""
        at = time.monotonic()
        if self._cancel:
            why, within_s = StopReason.CANCELLED, STOP_S
        elif self.must_go():
            why, within_s = StopReason.PREEMPTED, self.settings.stop_s
        elif at - self._started > self.settings.job_timeout_s:
            why, within_s = StopReason.TIMEOUT, STOP_S
        else:
            return
        if self.why in (None, StopReason.PREEMPTED) and self.why != why:
            self.why, self._kill_at = why, min(self._kill_at, at + within_s)
            log.info("job %s stops: %s", self.lease.record.id, why)
            self.model.send(Stop(why=why))
        elif self.must_go():  # while it stops for another reason
            self._kill_at = min(self._kill_at, at + self.settings.stop_s)

    def _outcome_of(self, message: object) -> Outcome | None:
        match message:
            case Done(results=results, summary=summary, timings=timings):
                return Outcome("succeeded", lambda: self.lease.succeed(results, summary, timings))
            case HandOver(phase=phase, plan=plan, segments=count):
                return handed_over(self.lease, phase, plan, count)
            case Failed(failure=failure, lost=lost):
                if lost:
                    self.model.kill()
                return self._failed(failure)
            case JobStopped():
                return self._outcome_of_stop()
        return None

    def _outcome_of_stop(self) -> Outcome:
        if self.why is StopReason.CANCELLED:
            return Outcome("cancelled", self.lease.cancel)
        if self.why is StopReason.TIMEOUT:
            limit = f"it took longer than {self.settings.job_timeout_s:.0f} s"
            return self._failed(Failure.of(JobTimeout(limit)))
        return Outcome("given back to the queue", self.lease.give_back)

    def _outcome_of_death(self, error: ModelProcessDied) -> Outcome:
        """A death after a request to stop is the stop; any other is a failure."""
        if self.why:
            return self._outcome_of_stop()
        return self._failed(Failure.of(error))

    def _outcome_of_stall(self) -> Outcome:
        self.model.kill()
        came_to = f"stage {self.progress.stage!r}, frame {self.progress.frames}"
        error = ModelStalled(f"no progress for {self.settings.stall_s:.0f} s at {came_to}")
        return self._failed(Failure.of(error))

    def _failed(self, failure: Failure) -> Outcome:
        return failed(self.lease, failure, list(self.model.log_tail))


def handed_over(lease: Lease, phase: Phase, plan: str, segments: int) -> Outcome:
    """A split job that waits for its segments."""
    return Outcome(
        f"waits for {segments} segments: {phase}", lambda: lease.hand_over(phase, plan, segments)
    )


def failed(lease: Lease, failure: Failure, log_tail: Sequence[str] = ()) -> Outcome:
    """A failed attempt; whether it is tried again is decided with the write."""
    summary = f"failed: {failure.message} [{failure.code}]"
    return Outcome(summary, lambda: lease.fail(failure, log_tail))
