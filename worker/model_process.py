"""``python -m worker.model_process FD``: the process that holds the model and sees the videos.

It never talks to Redis: jobs come and reports go over the pipe ``FD`` to its parent, and it ends
with its parent, however that ends.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from shoal import log_context, logging as logs, tracing
from shoal.errors import GpuError, Stopped
from shoal.local.environment import HUB_TOKENS
from shoal.model.failure import Failure
from shoal.model.preview import PreviewSpec
from shoal.model.record import Progress
from shoal.settings import Settings, get_settings
from shoal.storage.files import work_privately
from worker.engines import Choice, choose, load
from worker.engines.base import Predictor
from worker.engines.cuda import configure_allocator
from worker.engines.gpu import as_gpu_error, release
from worker.pipe import ModelEnd
from worker.pipeline.forecast import Speed
from worker.pipeline.split.phases import job_class
from worker.preview.answer import PreviewAnswerer
from worker.preview.turns import Turns
from worker.protocol import (
    Beat,
    Commit,
    CommitGranted,
    Detect,
    Done,
    EventReport,
    Failed,
    FromJob,
    HandOver,
    JobStopped,
    Load,
    Ready,
    Report,
    Run,
    Stop,
    StopReason,
)

log = logging.getLogger("worker.model_process")

REPORT_S = 0.5


class ParentLine:
    """What a running job hears from the parent and tells it."""

    def __init__(self, link: ModelEnd) -> None:
        self.link = link
        self.job = ""  # that is running
        self.runs: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self.previews: queue.SimpleQueue[PreviewSpec] = queue.SimpleQueue()
        self.why: StopReason | None = None  # it must stop
        self._granted = False
        self._heard = threading.Condition()
        self._last_report = 0.0
        self._last_beat = 0.0

    def listen(self) -> None:
        """Receive until the parent is gone; then so are we."""
        while True:
            try:
                message = self.link.receive()
            except (EOFError, OSError):
                os._exit(0)
            with self._heard:
                if isinstance(message, Run):
                    self.why, self._granted = None, False
                    self.runs.put(message)
                elif isinstance(message, Stop):
                    self.why = message.why
                elif isinstance(message, CommitGranted):
                    self._granted = True
                elif isinstance(message, Detect):
                    self.previews.put(message.preview)
                self._heard.notify_all()

    def send(self, message: FromJob) -> None:
        self.link.send(message.model_copy(update={"job": self.job}))

    def report(self, progress: Progress, *, now: bool = False) -> None:
        """Tell the parent, unless it was told a moment ago and it can wait."""
        at = time.monotonic()
        if now or at - self._last_report >= REPORT_S:
            self._last_report = at
            self.send(Report(progress=progress))

    def beat(self) -> None:
        """Tell the parent that work goes on, unless it was told a moment ago."""
        at = time.monotonic()
        if at - self._last_beat >= REPORT_S:
            self._last_beat = at
            self.send(Beat())

    def record_event(self, event: Literal["part", "resumed"], **detail: int) -> None:
        """Add to the job's timeline."""
        self.send(EventReport(event=event, detail=detail))

    def ask_to_commit(self) -> None:
        """Wait for the parent to confirm that the job is still ours.

        Raises:
            Stopped: the job is not wanted any more. A worker that must only go may finish this.
        """
        with self._heard:
            self._granted = False
            self.send(Commit())
            self._heard.wait_for(lambda: self._granted or self._is_unwanted)
            if self._is_unwanted:
                raise Stopped

    @property
    def _is_unwanted(self) -> bool:
        return self.why in (StopReason.CANCELLED, StopReason.TIMEOUT)


def serve(link: ModelEnd, settings: Settings) -> None:
    """Load the model once, then run one job after the other."""
    choice, predictor = _load(link, settings)
    control = ParentLine(link)
    turns, speed = Turns(), Speed()
    answerer = PreviewAnswerer(link, predictor, turns, settings)
    threading.Thread(target=control.listen, name="link", daemon=True).start()
    threading.Thread(
        target=answerer.serve, args=(control.previews.get,), name="previews", daemon=True
    ).start()
    link.send(Ready(engine=predictor.name, device=predictor.device))
    while True:
        run = control.runs.get()
        control.job = run.spec.id
        control.send(_run(run, control, predictor, turns, speed, choice, settings))


def _load(link: ModelEnd, settings: Settings) -> tuple[Choice, Predictor]:
    order = link.receive()
    with _hub_token(order.hf_token if isinstance(order, Load) else ""):
        choice = choose(settings.engine)
        log.info("engine %s: %s", choice.engine, choice.reason)
        return choice, load(choice.engine)


@contextmanager
def _hub_token(token: str) -> Iterator[None]:
    """Have the token in the environment that libraries read, and then no more.

    ``/proc/self/environ`` shows what a process was started with, so it was not there.
    """
    if token:
        os.environ[HUB_TOKENS[0]] = token
    try:
        yield
    finally:
        if token:
            del os.environ[HUB_TOKENS[0]]


def _run(
    run: Run,
    control: ParentLine,
    predictor: Predictor,
    turns: Turns,
    speed: Speed,
    choice: Choice,
    settings: Settings,
) -> JobStopped | Failed | Done | HandOver:
    """One job; whatever goes wrong with it, this process serves the next one."""
    log_context.work_on(run.spec.id)
    try:
        kind = job_class(run)
        return kind(run, control, predictor, settings, choice.reason, turns, speed).run()
    except Stopped:
        return JobStopped()
    except Exception as error:
        log.exception("job %s failed", run.spec.id)
        error = as_gpu_error(error)
        failed = Failed(failure=Failure.of(error), lost=isinstance(error, GpuError))
    finally:
        log_context.work_on("")
    if not failed.lost:
        release()  # outside of the handler: the error holds the tensors of the job
    return failed


def main() -> None:
    logs.setup()
    tracing.setup("model")
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, signal.SIG_IGN)  # the parent decides
    work_privately()
    configure_allocator()
    link = ModelEnd(int(sys.argv[1]))
    try:
        serve(link, get_settings())
    except Exception as error:
        log.exception("could not load the model")
        link.send(Failed(failure=Failure.of(error)))
        sys.exit(1)


if __name__ == "__main__":
    main()
