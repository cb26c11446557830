"""The commands for jobs. Results go to stdout, progress and suggestions to stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shoal import formatting
from shoal.cli import output
from shoal.cli.completion import complete_job
from shoal.cli.files import Force, refuse_to_replace
from shoal.cli.ids import resolve_job
from shoal.cli.session import ForEach, Json, session_of
from shoal.errors import ResultNotFound
from shoal.model.job import State
from shoal.model.share import Priority

Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="Job IDs or unique prefixes.", autocompletion=complete_job
    ),
]
Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="Job ID or unique prefix.", autocompletion=complete_job),
]


def list_jobs(
    ctx: typer.Context,
    state: Annotated[State | None, typer.Option(help="Filter by state.")] = None,
    text: Annotated[str, typer.Option(help="Filter by text in ID, URI or prompts.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Maximum number of rows.")
    ] = 20,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    from shoal.cli.views import show_jobs

    session = session_of(ctx)
    with session.connect() as client:
        records = list(client.list(state=state, text=text, limit=limit))
    if session.json:
        output.print_json({"items": records})
    elif records:
        show_jobs(records)
    else:
        output.err.print("no jobs" + (" match" if state or text else ""))


def show(ctx: typer.Context, job_id: Id, json: Json = False) -> None:
    """Show a job, its timeline, and why it failed."""
    from shoal.cli.views import show_job

    session = session_of(ctx)
    with session.connect() as client:
        record = client.get(resolve_job(client, job_id))
        timeline, attempts = client.timeline(record.id), client.attempts(record.id)
    if session.json:
        more = {"timeline": timeline, "attempts": attempts}
        output.print_json({**record.model_dump(mode="json"), **more})
    else:
        show_job(record, timeline, attempts)


def watch(ctx: typer.Context, job_ids: Ids, json: Json = False) -> None:
    """Watch jobs until all have ended."""
    from shoal.cli.watching import exit_for, follow, show_outcomes

    session = session_of(ctx)
    with session.connect() as client:
        records = follow(client, [resolve_job(client, job_id) for job_id in job_ids])
    if session.json:
        output.print_json({"items": records})
    else:
        show_outcomes(records)
    exit_for(records)


def cancel(ctx: typer.Context, job_ids: Ids, json: Json = False) -> None:
    """Cancel queued or running jobs."""
    from shoal.cli.views import show_jobs

    batch = ForEach(session_of(ctx))
    with batch.session.connect() as client:
        batch.run(job_ids, lambda job_id: client.cancel(resolve_job(client, job_id)))
    batch.finish(show_jobs)


def retry(ctx: typer.Context, job_ids: Ids, json: Json = False) -> None:
    """Requeue failed or cancelled jobs."""
    from shoal.cli.views import show_jobs

    batch = ForEach(session_of(ctx))
    with batch.session.connect() as client:
        batch.run(job_ids, lambda job_id: client.retry(resolve_job(client, job_id)))
    batch.finish(show_jobs)


def download(
    ctx: typer.Context,
    job_id: Id,
    to: Annotated[Path, typer.Option(help="Target directory.", file_okay=False)] = Path(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Download the results of a job."""
    from shoal.cli.watching import transfer

    session = session_of(ctx)
    saved: list[Path] = []
    with session.connect() as client:
        job_id = resolve_job(client, job_id)
        files = client.results(job_id)
        if not files:
            state = client.get(job_id).state
            raise ResultNotFound(f"the job has no results; its state is {state}")
        if not force:
            refuse_to_replace(to / Path(file.name).name for file in files)
        for file in files:
            with transfer(file.name) as on_bytes:
                saved.append(client.download(job_id, file.name, to, on_bytes))
            if not session.json:
                output.out.print(f"{saved[-1]}  {formatting.size(file.bytes)}", markup=False)
    if session.json:
        output.print_json({"files": saved})


def priority(
    ctx: typer.Context,
    job_id: Id,
    place: Annotated[
        Priority, typer.Argument(help="Before all others, or among those of a priority.")
    ] = "front",
    json: Json = False,
) -> None:
    """Move a queued job to the front of the queue, or to the end of a priority."""
    from shoal.cli.views import show_jobs

    session = session_of(ctx)
    with session.connect() as client:
        record = client.prioritise(resolve_job(client, job_id), place)
    if session.json:
        output.print_json(record)
    else:
        show_jobs([record])


def pause(ctx: typer.Context, json: Json = False) -> None:
    """Pause the queue: running jobs finish, no new jobs start."""
    _set_paused(ctx, True)


def resume(ctx: typer.Context, json: Json = False) -> None:
    """Resume a paused queue."""
    _set_paused(ctx, False)


def _set_paused(ctx: typer.Context, paused: bool) -> None:
    from shoal.cli.views import show_queue

    session = session_of(ctx)
    with session.connect() as client:
        status = client.pause() if paused else client.resume()
    if session.json:
        output.print_json(status)
    else:
        show_queue(status)


def queue(ctx: typer.Context, json: Json = False) -> None:
    """Show queue depth and workers."""
    from shoal.cli.views import show_queue

    session = session_of(ctx)
    with session.connect() as client:
        status = client.queue()
    if session.json:
        output.print_json(status)
    else:
        show_queue(status)
