"""Jobs and the queue, as tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from rich.text import Text

from shoal.cli import output
from shoal.cli.output import (
    ago,
    clock,
    counted,
    duration,
    facts,
    out,
    printable,
    size,
    table,
    video_name,
)
from shoal.jobs import Options, State
from shoal.money import dollars
from shoal.records import AttemptRecord, Record, Spent, TimelineEvent
from shoal.wire import QueueStatus
from shoal.workers import WorkerInfo

SHORT_ID = 12  # characters; commands take any unambiguous beginning


def show_jobs(records: Iterable[Record]) -> None:
    """One line per job."""
    grid = table("id", "state", "video", "prompts", "outcome", "submitted")
    grid.columns[0].no_wrap = True
    grid.columns[5].no_wrap = True
    for record in records:
        grid.add_row(
            record.id[:SHORT_ID],
            output.state(record.state),
            Text(video_name(record.spec.uri)),
            Text(", ".join(record.spec.labels)),
            Text(outcome(record)),
            ago(record.created_at),
        )
    out.print(grid)


def outcome(record: Record) -> str:
    """How far a job is, or how it ended."""
    progress = record.progress
    match record.state:
        case State.QUEUED:
            again = f", {record.failures} failed" if record.failures else ""
            return f"waits {duration(max(0.0, time.time() - record.queued_at))}{again}"
        case State.RUNNING if record.cancel_requested:
            return "stopping"
        case State.RUNNING:
            of = f"/{progress.frames_expected}" if progress.frames_expected else ""
            return f"{progress.stage} {progress.frames}{of} frames, {progress.fps:.1f}/s".lstrip()
        case State.SUCCEEDED:
            objects = record.summary.get("objects_detected", 0)
            frames = record.summary.get("frames_processed", 0)
            return f"{counted(objects, 'object')} in {counted(frames, 'frame')}"
        case State.FAILED:
            return record.error.code if record.error else ""
    return ""


def show_job(
    record: Record, timeline: Sequence[TimelineEvent], attempts: Sequence[AttemptRecord]
) -> None:
    """Everything about one job; a failure's cause and hint stand out."""
    spec = record.spec
    out.print(
        Text.assemble((video_name(spec.uri), "bold"), "  ", output.state(record.state)),
    )
    out.print(
        facts(
            {
                "id": record.id,
                "video": Text(f"{printable(spec.uri)} ({size(spec.size)})"),
                "prompts": Text(", ".join(spec.labels)),
                "options": Text(_chosen(spec.options)),
                "outcome": Text(outcome(record) if record.state != State.FAILED else ""),
                "submitted": f"{clock(record.created_at)} ({ago(record.created_at)})",
                "took": _took(record),
                "cost": _spent(record.spent),
                "worker": Text(f"{record.worker}, attempt {record.attempt}" * bool(record.worker)),
                "failures": str(record.failures or ""),
                "preempted": counted(record.preemptions, "time") if record.preemptions else "",
            }
        )
    )
    show_failure(record)
    if record.results:
        out.print(Text.assemble("\n", ("results ", "bold"), printable(spec.results_prefix)))
        out.print(facts({name: size(count) for name, count in record.results.items()}))
    _show_timeline(timeline)
    _show_attempts(attempts)


def _spent(spent: Spent) -> str:
    """Such as '$1.24 for 1 h 7 min of a worker, of that $0.02 wasted by preemptions'."""
    if not spent.seconds:
        return ""
    said = f"{duration(spent.seconds)} of a worker"
    if spent.cost:
        said = f"{dollars(spent.cost)} for {said}"
    if spent.wasted_seconds:
        wasted = dollars(spent.wasted_cost) if spent.cost else duration(spent.wasted_seconds)
        said += f", of that {wasted} wasted by preemptions"
    return said


def show_failure(record: Record) -> None:
    """The error of a failed job, or of the attempt before a retry."""
    error = record.error
    if error is None:
        return
    out.print()
    out.print(Text.assemble((f"{error.code}: ", "bold red"), printable(error.message)))
    out.print(Text.assemble(("hint: ", "bold"), printable(error.hint)))


def _show_timeline(events: Sequence[TimelineEvent]) -> None:
    if not events:
        return
    out.print(Text("\ntimeline", style="bold"))
    grid = table("time", "after", "event", "detail", right=("after",))
    for event in events:
        detail = "  ".join(
            f"{name}={value}" for name, value in event.detail.items() if name != "hint"
        )
        grid.add_row(
            clock(event.at),
            duration(event.at - events[0].at),
            Text(event.event, style=output.STATE_STYLES.get(event.event, "")),
            Text(printable(detail)),
        )
    out.print(grid)


def _show_attempts(attempts: Sequence[AttemptRecord]) -> None:
    """How each went; of the last that failed, all that is known."""
    if not any(attempt.error for attempt in attempts):
        return
    out.print(Text("\nattempts", style="bold"))
    grid = table("no", "worker", "host", "took", "outcome", right=("no", "took"))
    for attempt in attempts:
        how = f"{attempt.outcome}: {attempt.error.message}" if attempt.error else attempt.outcome
        grid.add_row(
            str(attempt.number),
            attempt.worker,
            attempt.host,
            duration(attempt.seconds),
            Text(printable(how)),
        )
    out.print(grid)
    last = [attempt for attempt in attempts if attempt.error][-1]
    assert last.error is not None
    for name, lines in (("traceback", last.error.traceback.splitlines()), ("log", last.log)):
        if lines:
            out.print(Text(f"\n{name} of attempt {last.number}", style="bold"))
            out.print(Text("\n".join(printable(line) for line in lines), style="dim"))


def show_queue(status: QueueStatus) -> None:
    """The queue in a line, the workers in a table."""
    wait = f", the first for {duration(status.oldest_queued_s)}" if status.queued else ""
    out.print(f"{status.queued} waiting{wait}; {status.running} running", style="bold")
    if status.paused:
        out.print("the queue is paused: nothing new is started", style="yellow")
    ended = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    out.print(", ".join(f"{status.jobs.get(state, 0)} {state}" for state in ended))
    if not status.workers:
        out.print("no worker is there", style="yellow")
        output.advise("start one with 'shoal worker', or everything with 'shoal up'")
        return
    numbers = ("jobs", "model loads", "up")
    grid = table("worker", "state", "job", "engine", "device", "host", *numbers, right=numbers)
    for worker in status.workers:
        grid.add_row(
            worker.name,
            _state(worker),
            worker.job[:SHORT_ID],
            worker.engine,
            worker.device,
            worker.host,
            str(worker.jobs_done),
            str(worker.model_loads),
            duration(max(0.0, time.time() - worker.started_at)),
        )
    out.print()
    out.print(grid)


def _state(worker: WorkerInfo) -> Text:
    shown = output.state(worker.state)
    return shown.append(", draining", style="yellow") if worker.draining else shown


def _chosen(options: Options) -> str:
    """The options that differ from the defaults."""
    usual = Options()
    return ", ".join(f"{name} {value}" for name, value in options if value != getattr(usual, name))


def _took(record: Record) -> str:
    if record.started_at is None or record.finished_at is None:
        return ""
    waited = max(0.0, record.started_at - record.queued_at)
    return f"{duration(record.finished_at - record.started_at)} after waiting {duration(waited)}"
