"""The commands about jobs. What they print goes to stdout, progress and advice to stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli import batches, output
from shoal.cli.batches import is_pattern
from shoal.cli.ids import resolve_job
from shoal.cli.outputs import read_outputs
from shoal.cli.pointing import parse_removal, read_objects
from shoal.cli.session import Batch, Json, Session, session_of
from shoal.errors import ResultNotFound
from shoal.exits import Exit
from shoal.jobs import Direction, State
from shoal.outputs import prompts_of
from shoal.prompts import clean_prompts

if TYPE_CHECKING:
    from shoal.client import Client
    from shoal.records import Record

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Job ids, or how they begin.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or how it begins.")]


def submit(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Videos, folders of frames (uploaded), or URIs; with wildcards they are a batch.",
        ),
    ],
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="What to find; repeat it for more.")
    ] = None,
    objects: Annotated[
        Path | None, typer.Option(help="JSON file of objects to follow: see docs/prompts.md.")
    ] = None,
    remove_object: Annotated[
        list[str] | None,
        typer.Option(metavar="ID[@FRAME]", help="Leave this object out; repeat it for more."),
    ] = None,
    max_objects: Annotated[
        int | None, typer.Option(help="At most so many objects at a time. [default: no limit]")
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="Score that a new object needs, 0 to 1.")
    ] = None,
    sample_fps: Annotated[
        float | None, typer.Option(help="Frames per second to write; 0: every frame. [default: 1]")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="Stop after this many written frames.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Which engine. [default: auto]")] = None,
    sequence_fps: Annotated[
        float | None, typer.Option(help="Frames per second of a folder of frames. [default: 1]")
    ] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Process what there is of a cut off video.")
    ] = False,
    direction: Annotated[
        Direction | None, typer.Option(help="Which way to track. [default: forward]")
    ] = None,
    start_frame: Annotated[
        int | None,
        typer.Option(help="Frame to start at, from 0. [default: the first; backward: the last]"),
    ] = None,
    callback: Annotated[str, typer.Option(metavar="URL", help="Where to tell how it ended.")] = "",
    name: Annotated[
        str, typer.Option(help="Make a batch of the sources, and call it so.", show_default=False)
    ] = "",
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="KIND[:OPTION=VALUE,...]",
            help="What to write; repeat it for more: see docs/results.md. [default: overlay]",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Wait for the outcome.")] = False,
    json: Json = False,
) -> None:
    """Submit videos: **shoal submit match.mp4 -p person -p ball --watch**

    A URI with wildcards is a batch: `shoal submit "gs://bucket/2025/**/*.mp4" -p person`
    """
    from shoal.cli.watching import follow

    wanted = read_outputs(outputs) if outputs else ()
    given = {
        "sample_fps": sample_fps,
        "max_frames": max_frames,
        "max_objects": max_objects,
        "score_threshold": score_threshold,
        "engine": engine,
        "sequence_fps": sequence_fps,
        "allow_truncated": allow_truncated or None,
        "direction": direction,
        "start_frame": start_frame,
        "outputs": wanted or None,
    }
    options = {name: value for name, value in given.items() if value is not None}
    named = prompts_of(wanted)
    if not prompt and not objects and not named:
        raise typer.BadParameter("Give --prompt, --objects or both.")
    # Before anything is uploaded:
    pointed = read_objects(objects)
    prompts = clean_prompts([*(prompt or []), *named], may_lack=bool(pointed))
    removals = [parse_removal(text) for text in remove_object or []]
    if name or any(map(is_pattern, sources)):
        if removals:
            raise typer.BadParameter("--remove-object is about one video, not about a batch.")
        work = {"prompts": prompts, "objects": pointed, "name": name, "callback": callback}
        _submit_batch(session_of(ctx), sources, work | options, watch)
        return
    batch = Batch(session_of(ctx))
    with batch.session.connect() as client:
        batch.run(
            sources,
            lambda source: client.submit(
                _uri(client, source),
                prompts,
                objects=pointed,
                remove_objects=removals,
                callback=callback,
                **options,
            ),
        )
        if watch:
            batch.records = follow(client, [record.id for record in batch.records])
    batch.finish(_show_outcomes if watch else _show_submitted)
    if watch:
        _exit_for(batch.records)


def _submit_batch(
    session: Session, sources: Sequence[str], work: Mapping[str, Any], watch: bool
) -> None:
    with session.connect() as client:
        batch = client.batches.submit(
            uris=[_uri(client, source) for source in sources if not is_pattern(source)],
            globs=filter(is_pattern, sources),
            **work,
        )
        batches.finish(session, client, batch, watch)


def list_jobs(
    ctx: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    text: Annotated[str, typer.Option(help="Only with this in the id, URI or prompts.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
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
        output.err.print("no jobs" + (" that match" if state or text else ""))


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
    """Follow jobs until all have ended."""
    from shoal.cli.watching import follow

    session = session_of(ctx)
    with session.connect() as client:
        records = follow(client, [resolve_job(client, job_id) for job_id in job_ids])
    if session.json:
        output.print_json({"items": records})
    else:
        _show_outcomes(records)
    _exit_for(records)


def cancel(ctx: typer.Context, job_ids: Ids, json: Json = False) -> None:
    """Cancel jobs, waiting or running."""
    from shoal.cli.views import show_jobs

    batch = Batch(session_of(ctx))
    with batch.session.connect() as client:
        batch.run(job_ids, lambda job_id: client.cancel(resolve_job(client, job_id)))
    batch.finish(show_jobs)


def retry(ctx: typer.Context, job_ids: Ids, json: Json = False) -> None:
    """Queue failed or cancelled jobs again."""
    from shoal.cli.views import show_jobs

    batch = Batch(session_of(ctx))
    with batch.session.connect() as client:
        batch.run(job_ids, lambda job_id: client.retry(resolve_job(client, job_id)))
    batch.finish(show_jobs)


def download(
    ctx: typer.Context,
    job_id: Id,
    to: Annotated[Path, typer.Option(help="Folder to put them in.", file_okay=False)] = Path(),
    json: Json = False,
) -> None:
    """Download a job's results."""
    from shoal.cli.watching import transfer

    session = session_of(ctx)
    saved: list[Path] = []
    with session.connect() as client:
        job_id = resolve_job(client, job_id)
        files = client.results(job_id)
        if not files:
            state = client.get(job_id).state
            raise ResultNotFound(f"the job has no results: it is {state}")
        for file in files:
            with transfer(file.name) as on_bytes:
                saved.append(client.download(job_id, file.name, to, on_bytes))
            if not session.json:
                output.out.print(f"{saved[-1]}  {output.size(file.bytes)}", markup=False)
    if session.json:
        output.print_json({"files": saved})


def queue(ctx: typer.Context, json: Json = False) -> None:
    """Show how much waits, and the workers."""
    from shoal.cli.views import show_queue

    session = session_of(ctx)
    with session.connect() as client:
        status = client.queue()
    if session.json:
        output.print_json(status)
    else:
        show_queue(status)


def _uri(client: Client, source: str) -> str:
    """A URI as it is; anything else is a local path and is uploaded."""
    if "://" in source:
        return source
    from shoal.cli.watching import transfer

    path = Path(source).expanduser()
    with transfer(path.name) as on_bytes:
        return client.upload(path, on_bytes).uri


def _show_submitted(records: list[Record]) -> None:
    from shoal.cli.views import SHORT_ID, show_jobs

    show_jobs(records)
    open_ids = [record.id[:SHORT_ID] for record in records if not record.state.is_final]
    if open_ids:
        output.advise(f"follow with: shoal watch {' '.join(open_ids)}")


def _show_outcomes(records: list[Record]) -> None:
    from shoal.cli.views import SHORT_ID, show_failure, show_jobs

    show_jobs(records)
    for record in records:
        show_failure(record)
    done = next((record for record in records if record.state == State.SUCCEEDED), None)
    if done:
        output.advise(f"get the files with: shoal download {done.id[:SHORT_ID]} --to DIR")


def _exit_for(records: list[Record]) -> None:
    if any(record.state != State.SUCCEEDED for record in records):
        raise typer.Exit(Exit.FAILED)
