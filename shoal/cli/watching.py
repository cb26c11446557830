"""Progress of jobs and transfers on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from shoal.cli.ids import SHORT_ID
from shoal.cli.output import STATE_STYLES, err, facts, out, printable, video_name
from shoal.cli.views import outcome, sampling_note, show_failure, show_jobs
from shoal.client.client import Client
from shoal.client.transport import OnBytes
from shoal.exits import Exit
from shoal.model.job import State
from shoal.model.record import Record

LONG_S = 60.0  # a forecast of less is not worth a line
NO_WORKER_S = 5.0  # so long a queue without workers is waited for in silence


class NoWorkerNotice:
    """Says once that nobody will take what is queued."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._due_s = clock() + NO_WORKER_S

    def __call__(self) -> None:
        """To be called now and then while everything that is waited for is queued."""
        if self._clock() < self._due_s:
            return
        self._due_s = inf
        if not self._client.queue().workers:
            err.print(Text("no worker is connected, so nothing starts", style="yellow"))
            err.print("start one with 'shoal worker', or all services with 'shoal up'")


class ForecastNotice:
    """Says what a longer video will take while it can still be stopped: how many frames as soon as
    that is known, and the time once the engine's speed is."""

    def __init__(self) -> None:
        self._shown: dict[str, bool] = {}  # by job, whether the time was shown, too

    def __call__(self, record: Record) -> None:
        known = record.progress.forecast
        is_timed = bool(known.seconds)
        is_long = known.seconds >= LONG_S or bool(known.reason and known.sampled_fps)
        if record.state != State.RUNNING or not is_long:
            return
        if record.id in self._shown and self._shown[record.id] >= is_timed:
            return
        self._shown[record.id] = is_timed
        short_id = record.id[:SHORT_ID]
        text = f"{video_name(record.spec.uri)}: {sampling_note(record)}"
        err.print(Text(f"{printable(text)} To stop it: shoal cancel {short_id}"))


def follow(client: Client, job_ids: Iterable[str]) -> list[Record]:
    """Show progress on stderr until all jobs are final; returns their records in this order."""
    ids = list(dict.fromkeys(job_ids))
    last: dict[str, Record] = {}
    notice, tell_forecast = NoWorkerNotice(client), ForecastNotice()

    def on_round() -> None:
        if all(record.state == State.QUEUED for record in last.values()):
            notice()

    with reporter() as report:
        for record in client.watch(*ids, on_round=on_round):
            last[record.id] = record
            report(record)
            tell_forecast(record)
    return [last[job_id] for job_id in ids]


def show_outcomes(records: Sequence[Record]) -> None:
    """How jobs ended, where the results are, and how to get them."""
    show_jobs(records)
    for record in records:
        show_failure(record)
    done = [record for record in records if record.state == State.SUCCEEDED]
    for record in done:
        out.print()
        out.print(facts(_results(record)))


def _results(record: Record) -> dict[str, str | Text]:
    return {
        "results": Text(printable(record.spec.results_prefix)),
        "download": Text(f"shoal download {record.id[:SHORT_ID]} --to DIR"),
        "note": Text(printable(sampling_note(record))),
    }


def exit_for(records: Iterable[Record]) -> None:
    """
    Raises:
        Exit: not all jobs have succeeded.
    """
    if any(record.state != State.SUCCEEDED for record in records):
        raise typer.Exit(Exit.FAILED)


@contextmanager
def transfer(name: str) -> Iterator[OnBytes]:
    """A progress bar for an upload or download."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Bars:
    """One bar per job, on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, record: Record) -> None:
        if record.id not in self.tasks:
            name = video_name(record.spec.uri)
            self.tasks[record.id] = self.progress.add_task(name, total=None, state="", outcome="")
        style = STATE_STYLES.get(record.state, "")
        expected = record.progress.frames_expected
        self.progress.update(
            self.tasks[record.id],
            total=(expected or 1) if record.state.is_final else (expected or None),
            completed=(expected or 1)
            if record.state == State.SUCCEEDED
            else record.progress.frames,
            state=f"[{style}]{record.state}[/]",
            outcome=_progress(record),
        )


class _Lines:
    """One line per change of state and per 10 % of a video, if stderr is not a terminal."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, int, int]] = {}

    def __call__(self, record: Record) -> None:
        progress = record.progress
        tenths = 10 * progress.frames // max(1, progress.frames_expected)
        now = (record.state.value, record.attempt, tenths)
        if self.states.get(record.id) != now:
            self.states[record.id] = now
            name = video_name(record.spec.uri)
            err.print(Text(f"{record.id[:SHORT_ID]}  {record.state}  {name}  {_progress(record)}"))


def _progress(record: Record) -> str:
    # The waiting time of a queued job would not update: a record is only shown when it changes.
    return "" if record.state == State.QUEUED else outcome(record)


@contextmanager
def reporter() -> Iterator[_Bars | _Lines]:
    """A callable that reports a changed record: as bars on a terminal, else as lines."""
    if not err.is_terminal:
        yield _Lines()
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        TextColumn("{task.fields[outcome]}", markup=False),
        console=err,
    ) as progress:
        yield _Bars(progress)
