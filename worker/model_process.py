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
from typing import Literal

from shoal import log_context, logs, tracing
from shoal.errors import Failure, GpuError, Stopped
from shoal.records import Progress
from shoal.settings import Settings, get_settings
from shoal.tether import die_with_parent
from worker.child import connect_to_parent
from worker.link import (
    Commit,
    Done,
    Failed,
    Granted,
    Happened,
    Left,
    Link,
    Ready,
    Report,
    Run,
    Stop,
    Why,
)
from worker.predictors import Choice, choose, load
from worker.predictors.base import Predictor
from worker.predictors.gpu import as_gpu_error
from worker.video_job import VideoJob

log = logging.getLogger("worker.model_process")

REPORT_S = 0.5


class Control:
    """What a running job hears from the parent and tells it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.runs: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self.why: Why | None = None  # it must stop
        self._granted = False
        self._heard = threading.Condition()
        self._last_report = 0.0

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
                elif isinstance(message, Granted):
                    self._granted = True
                self._heard.notify_all()

    def report(self, progress: Progress, *, now: bool = False) -> None:
        """Tell the parent, unless it was told a moment ago and it can wait."""
        at = time.monotonic()
        if now or at - self._last_report >= REPORT_S:
            self._last_report = at
            self.link.send(Report(progress=progress))

    def happened(self, event: Literal["part", "resumed"], **detail: int) -> None:
        """Add to the job's timeline."""
        self.link.send(Happened(event=event, detail=detail))

    def ask_to_commit(self) -> None:
        """Wait for the parent to confirm that the job is still ours.

        Raises:
            Stopped: the job is not wanted any more. A worker that must only go may finish this.
        """
        with self._heard:
            self._granted = False
            self.link.send(Commit())
            self._heard.wait_for(lambda: self._granted or self._is_unwanted)
            if self._is_unwanted:
                raise Stopped

    @property
    def _is_unwanted(self) -> bool:
        return self.why in (Why.CANCELLED, Why.TIMEOUT)


def serve(link: Link, settings: Settings) -> None:
    """Load the model once, then run one job after the other."""
    choice = choose(settings.engine)
    log.info("engine %s: %s", choice.engine, choice.reason)
    predictor = load(choice.engine)
    control = Control(link)
    threading.Thread(target=control.listen, name="link", daemon=True).start()
    link.send(Ready(engine=predictor.name, device=predictor.device))
    while True:
        link.send(_run(control.runs.get(), control, predictor, choice, settings))


def _run(
    run: Run, control: Control, predictor: Predictor, choice: Choice, settings: Settings
) -> Left | Failed | Done:
    """One job; whatever goes wrong with it, this process serves the next one."""
    log_context.work_on(run.spec.id)
    try:
        return VideoJob(run, control, predictor, settings, choice.reason).run()
    except Stopped:
        return Left()
    except Exception as error:
        log.exception("job %s failed", run.spec.id)
        error = as_gpu_error(error)
        return Failed(failure=Failure.of(error), lost=isinstance(error, GpuError))
    finally:
        log_context.work_on("")


def main() -> None:
    logs.setup()
    tracing.setup("model")
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, signal.SIG_IGN)  # the parent decides
    die_with_parent()
    link = connect_to_parent(int(sys.argv[1]))
    try:
        serve(link, get_settings())
    except Exception as error:
        log.exception("the model cannot be loaded")
        link.send(Failed(failure=Failure.of(error)))
        sys.exit(1)


if __name__ == "__main__":
    main()
