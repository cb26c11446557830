"""Jobs and the queue as tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence

from rich.text import Text

from shoal.cli import output
from shoal.cli.ids import SHORT_ID
from shoal.cli.output import facts, out, printable, table, video_name
from shoal.client.schemas import QueueStatus
from shoal.formatting import (
    ago,
    compute_time,
    counted,
    dollars,
    duration,
    event_text,
    forecast,
    local,
    size,
)
from shoal.model.job import Options, State
from shoal.model.outputs import AnyOutput
from shoal.model.record import AttemptRecord, PlacedRecord, Record, Spent, TimelineEvent
from shoal.model.worker import WorkerInfo


def show_jobs(records: Iterable[Record]) -> None:
    """One line per job."""
    grid = table("id", "state", "video", "prompts", "options", "result", "submitted")
    grid.columns[0].no_wrap = grid.columns[-1].no_wrap = True
    for record in records:
        grid.add_row(
            record.id[:SHORT_ID],
            output.state(record.state),
            Text(video_name(record.spec.uri)),
            Text(", ".join(record.spec.labels)),
            Text(_chosen(record.spec.options)),
            Text(outcome(record)),
            ago(record.created_at),
        )
    out.print(grid)


def _place(record: PlacedRecord) -> str:
    place = record.place
    if place is None:
        return ""
    when = f", starts in about {duration(place.starts_in_s)}" if place.starts_in_s else ""
    return f"{place.position}, priority {record.priority}{when}"


def outcome(record: Record) -> str:
    """The progress of a job, or how it ended."""
    progress = record.progress
    match record.state:
        case State.QUEUED:
            failed = f", {counted(record.failures, 'failed attempt')}" if record.failures else ""
            if record.retry_at:
                return f"retries at {local(record.retry_at)}{failed}"
            return f"waiting {duration(max(0.0, time.time() - record.queued_at))}{failed}"
        case State.RUNNING if record.cancel_requested:
            return "cancelling"
        case State.RUNNING:
            of = f"/{progress.frames_expected}" if progress.frames_expected else ""
            fps = f", {progress.fps:.1f} fps" if progress.fps else ""
            return f"{progress.stage} {progress.frames}{of} frames{fps}".lstrip()
        case State.SUCCEEDED:
            objects = record.summary.get("objects_detected", 0)
            frames = record.summary.get("frames_processed", 0)
            return f"{counted(objects, 'object')} in {counted(frames, 'frame')}"
        case State.FAILED:
            return record.error.code if record.error else ""
    return ""


def sampling_note(record: Record) -> str:
    """Which frames are processed and what that takes; of an ended job, what 'auto' left out."""
    if record.state == State.RUNNING:
        return forecast(record.progress)
    return str(record.summary.get("sampling", ""))


def show_job(
    record: PlacedRecord, timeline: Sequence[TimelineEvent], attempts: Sequence[AttemptRecord]
) -> None:
    """Everything known about one job."""
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
                "result": Text(outcome(record) if record.state != State.FAILED else ""),
                "sampling": Text(printable(sampling_note(record))),
                "in line": _place(record),
                "submitted": f"{local(record.created_at)} ({ago(record.created_at)})",
                "duration": _duration(record),
                "compute time": _spent(record.spent),
                "worker": Text(f"{record.worker}, attempt {record.attempt}" * bool(record.worker)),
                "segments": _segments(record),
                "failures": str(record.failures or ""),
                "lost workers": f"{record.losses} since a part was last saved"
                * (record.losses > 0),
                "preemptions": str(record.preemptions or ""),
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
    """Such as '1 h 7 min ($1.24), $0.02 lost to preemption'."""
    if not spent.seconds:
        return ""
    shown = compute_time(spent.seconds) + (f" ({dollars(spent.cost)})" if spent.cost else "")
    if spent.wasted_seconds >= 1:
        lost = dollars(spent.wasted_cost) if spent.cost else compute_time(spent.wasted_seconds)
        shown += f", {lost} lost to preemption"
    return shown


def _segments(record: Record) -> str:
    """How many segments of a split job are done, by what is done with them; empty for others."""
    done: dict[str, list[bool]] = {}
    for each in record.segments:
        done.setdefault(each.role, []).append(each.state == State.SUCCEEDED)
    return ", ".join(f"{role} {sum(ended)} of {len(ended)}" for role, ended in done.items())


def show_failure(record: Record) -> None:
    """The error of a failed job, or of the last attempt of a job that is retried."""
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
    grid = table("time", "after", "event", right=("after",))
    for event in events:
        text = printable(event_text(event.event, event.detail))
        grid.add_row(
            local(event.at),
            duration(event.at - events[0].at),
            Text(text, style=output.STATE_STYLES.get(event.event, "")),
        )
    out.print(grid)


def _show_attempts(attempts: Sequence[AttemptRecord]) -> None:
    """The outcome of each attempt; the traceback and log of the last failed one."""
    failed = [attempt for attempt in attempts if attempt.error]
    if not failed and not any(attempt.outcome == "lost" for attempt in attempts):
        return
    out.print(Text("\nattempts", style="bold"))
    grid = table("no", "worker", "host", "duration", "outcome", right=("no", "duration"))
    for attempt in attempts:
        how = f"{attempt.outcome}: {attempt.error.message}" if attempt.error else attempt.outcome
        if attempt.outcome == "lost" and attempt.stage:
            how += f" (stage {attempt.stage}, frame {attempt.frames})"
        grid.add_row(
            str(attempt.number),
            attempt.worker,
            attempt.host,
            duration(attempt.seconds),
            Text(printable(how)),
        )
    out.print(grid)
    for last in failed[-1:]:
        _show_log(last)


def _show_log(last: AttemptRecord) -> None:
    trace = last.error.traceback.splitlines() if last.error else []
    if set(trace) <= set(last.log):  # the log has it, with what came before
        trace = []
    for name, lines in (("traceback", trace), ("log", last.log)):
        if lines:
            out.print(Text(f"\n{name} of attempt {last.number}", style="bold"))
            out.print(Text("\n".join(printable(line) for line in lines), style="dim"))


def show_queue(status: QueueStatus) -> None:
    """The depth of the queue, and a table of the workers."""
    wait = f" (oldest waiting {duration(status.oldest_queued_s)})" if status.queued else ""
    out.print(f"{status.queued} queued{wait}, {status.running} running", style="bold")
    if status.held:
        out.print(f"{status.held} of them wait for 'max_running' of their batch or rule")
    if status.paused:
        out.print("the queue is paused: no new videos will start", style="yellow")
    ended = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    out.print(", ".join(f"{status.jobs.get(state, 0)} {state}" for state in ended))
    if not status.workers:
        out.print("no workers connected", style="yellow")
        output.suggest("start one with 'shoal worker', or all services with 'shoal up'")
        return
    numbers = ("jobs", "model loads", "uptime")
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
    chosen = options.model_dump(mode="json", exclude_defaults=True)
    if "outputs" in chosen:
        chosen["outputs"] = " + ".join(map(_output, options.outputs))
    values = (f"{value:g}" if isinstance(value, float) else value for value in chosen.values())
    return printable(
        ", ".join(f"{name} {value}" for name, value in zip(chosen, values, strict=True))
    )


def _output(chosen: AnyOutput) -> str:
    """As ``--output`` takes it: 'crops:per_object=3'."""
    given = chosen.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    settings = ",".join(f"{name}={json.dumps(value)}" for name, value in given.items())
    return f"{chosen.kind}:{settings}" if settings else chosen.kind


def _duration(record: Record) -> str:
    if record.took_s is None:
        return ""
    waited = (record.begun_at or record.queued_at) - record.queued_at
    queued = f" (queued for {duration(waited)})" if waited > 0 else ""
    return duration(record.took_s) + queued
