"""Following jobs until they are final."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

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

from shoal.cli.output import STATE_STYLES, err, video_name
from shoal.cli.views import SHORT_ID, outcome
from shoal.client import Client
from shoal.jobs import State
from shoal.records import Record
from shoal.transport import OnBytes


def follow(client: Client, job_ids: Iterable[str]) -> list[Record]:
    """Show progress on stderr until all jobs are final; returns their records in this order."""
    ids = list(dict.fromkeys(job_ids))
    last: dict[str, Record] = {}
    with reporter() as report:
        for record in client.watch(*ids):
            last[record.id] = record
            report(record)
    return [last[job_id] for job_id in ids]


@contextmanager
def transfer(name: str) -> Iterator[OnBytes]:
    """A progress bar for bytes that go up or down."""
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
    """A line per change of state and per tenth of a video, where nobody is looking."""

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
    # How long a job has waited would stand still here: a record is only shown when it changes.
    return "" if record.state == State.QUEUED else outcome(record)


@contextmanager
def reporter() -> Iterator[_Bars | _Lines]:
    """Call what it gives with every change of a record: bars on a terminal, else lines."""
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
