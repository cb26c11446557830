"""What the stages of one attempt share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from shoal import tracing
from shoal.errors import Stopped
from shoal.model.job import JobSpec
from shoal.model.record import Progress
from shoal.settings import Settings
from worker.pipeline.checkpoint import Checkpoint
from worker.pipeline.forecast import FramePlan, Speed
from worker.pipeline.pace import Pace
from worker.pipeline.stopwatch import Stopwatch
from worker.protocol import Run, StopReason

log = logging.getLogger(__name__)


class JobControl(Protocol):
    """The job's line to the parent process."""

    why: StopReason | None  # it must stop

    def report(self, progress: Progress, *, now: bool = False) -> None: ...

    def beat(self) -> None: ...

    def record_event(self, event: Literal["part", "resumed"], **detail: int) -> None: ...

    def ask_to_commit(self) -> None: ...


class JobContext:
    """The job, its settings and folder; whether it must stop or may commit; clock and progress.

    Attributes:
        spec: what to do.
        run: the parent's order: worker, attempt and how often the model was loaded.
        work_dir: a local folder of this attempt's own.
        continued: the checkpoint of an earlier attempt that this one continues from.
    """

    def __init__(
        self, run: Run, control: JobControl, settings: Settings, speed: Speed | None = None
    ) -> None:
        self.run = run
        self.spec: JobSpec = run.spec
        self.settings = settings
        self.work_dir = Path(run.work_dir)
        self.continued: Checkpoint | None = None
        self._control = control
        self._stopwatch = Stopwatch()
        self._pace = Pace()
        self._speed = speed or Speed()
        self._plan: FramePlan | None = None
        self._progress = Progress()

    # --- stop and commit -------------------------------------------------------------------------

    @property
    def must_stop(self) -> bool:
        return self._control.why is not None

    @property
    def must_save(self) -> bool:
        """Whether the worker has to go: what is done so far is worth saving."""
        return self._control.why is StopReason.PREEMPTED

    def check(self) -> None:
        """
        Raises:
            Stopped: the job must stop.
        """
        if self.must_stop:
            raise Stopped

    def confirm(self) -> None:
        """Return once the parent confirms that the job is still this attempt's.

        Called before anything is written that others will trust.

        Raises:
            Stopped: the job is not wanted any more.
        """
        self._control.ask_to_commit()

    # --- clock and progress ----------------------------------------------------------------------

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a stage, and show it to users."""
        self._enter(name)
        with (
            self._stopwatch.stage(name),
            tracing.span(name, self.spec.id, attempt=self.run.attempt),
        ):
            yield

    def timings(self) -> dict[str, float]:
        """Seconds by stage, with those of the attempts that this one continues."""
        earlier = self.continued.timings if self.continued else {}
        return dict(Counter(earlier) + Counter(self._stopwatch.so_far()))

    def expect(self, frames: int) -> None:
        """How many frames will be written; 0: not known."""
        self._progress.frames_expected = frames

    def plan(self, plan: FramePlan) -> None:
        """Which frames will be written; users are told with the next report."""
        self.expect(plan.frames)
        self._plan = plan
        self._progress.forecast = plan.forecast(self._speed)

    def at(self, frames: int) -> None:
        """How many frames are done in this stage; told with its next report."""
        self._progress.frames = frames

    def advance(self) -> None:
        """One more frame is done.

        Raises:
            Stopped: the job must stop.
        """
        self.check()
        self._progress.frames += 1
        self._control.report(self._progress)

    def beat(self) -> None:
        """Something is done that finishes no frame.

        Raises:
            Stopped: the job must stop.
        """
        self.check()
        self._control.beat()

    def wrote(self, frames: int) -> None:
        """So many frames are written, those of earlier attempts included."""
        self._progress.frames = frames
        pace = self._pace.at(frames)
        self._progress.fps = round(pace, 2)
        if self._plan and pace:
            self._speed.fps = pace * self._plan.tracked_per_frame
            self._progress.forecast = self._plan.forecast(self._speed)
        self._control.report(self._progress)

    def _enter(self, stage: str) -> None:
        self._progress = self._progress.model_copy(update={"stage": stage})
        self._control.report(self._progress, now=True)

    # --- the timeline ----------------------------------------------------------------------------

    def resumed(self, frame: int) -> None:
        """Record that work continues after a frame of an earlier attempt."""
        number = self.continued.number if self.continued else 0
        log.info("job %s resumes after segment %d, frame %d", self.spec.id, number, frame)
        self._control.record_event("resumed", part=number, frame=frame)

    @contextmanager
    def saving(self, checkpoint: Checkpoint) -> Iterator[None]:
        """Record a checkpoint: before, since its upload may take long, and when it is done."""
        self._enter("part")
        yield
        frames = checkpoint.checkpoint.summary.frames_written
        self._control.record_event("part", number=checkpoint.number, frames=frames)
        self._enter("process")
