"""``shoal batch``. ``shoal submit`` creates a batch from a URI with wildcards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from shoal import formatting
from shoal.cli import output
from shoal.cli.completion import complete_batch
from shoal.cli.ids import SHORT_ID, resolve_batch
from shoal.cli.session import CliSession, Json, session_of
from shoal.errors import SourceNotFound
from shoal.exits import Exit
from shoal.model.globs import WILD
from shoal.model.job import State
from shoal.model.source_url import is_web

if TYPE_CHECKING:
    from shoal.client.client import Client
    from shoal.model.batch import BatchStatus

app = typer.Typer(help="Manage batches of videos.", no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="Batch ID or unique prefix.", autocompletion=complete_batch),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Wait until all videos have ended.")]


def is_pattern(source: str) -> bool:
    """Whether a source is a URI with wildcards. The shell expands those of local paths; in a URL of
    the web they are no wildcards."""
    _, found, rest = source.partition("://")
    return bool(found) and bool(WILD.search(rest)) and not is_web(source)


@app.command("list")
def list_batches(
    ctx: typer.Context,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Maximum number of rows.")
    ] = 20,
    json: Json = False,
) -> None:
    """List batches, newest first."""
    session = session_of(ctx)
    with session.connect() as client:
        found = list(client.batches.list(limit=limit))
    if session.json:
        output.print_json({"items": found})
        return
    if not found:
        output.err.print("no batches")
        return
    numbers = ("videos", "done", "failed")
    grid = output.table("id", "state", "name", *numbers, "remaining", "submitted", right=numbers)
    grid.columns[0].no_wrap = True
    for batch in found:
        ended = batch.videos - batch.counts[State.QUEUED] - batch.counts[State.RUNNING]
        grid.add_row(
            batch.id[:SHORT_ID],
            output.state(batch.state),
            Text(output.printable(batch.name or ", ".join(batch.globs))),
            str(batch.videos),
            str(ended),
            str(batch.counts[State.FAILED] or ""),
            _remaining(batch),
            formatting.ago(batch.created_at),
        )
    output.out.print(grid)


@app.command()
def show(ctx: typer.Context, batch_id: Id, watch: Watch = False, json: Json = False) -> None:
    """Show the progress of a batch, its failures and its skipped files."""
    session = session_of(ctx)
    with session.connect() as client:
        batch_id = resolve_batch(client, batch_id)
        finish(session, client, client.batches.get(batch_id), watch)


@app.command()
def cancel(ctx: typer.Context, batch_id: Id, json: Json = False) -> None:
    """Cancel all unfinished videos of a batch."""
    session = session_of(ctx)
    with session.connect() as client:
        finish(session, client, client.batches.cancel(resolve_batch(client, batch_id)), watch=False)


@app.command()
def delete(
    ctx: typer.Context,
    batch_id: Id,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    json: Json = False,
) -> None:
    """Delete a batch and its videos with all results. Sources in buckets are kept."""
    if not yes:
        typer.confirm("Delete the batch with all results?", abort=True, err=True)
    session = session_of(ctx)
    with session.connect() as client:
        finish(session, client, client.batches.delete(resolve_batch(client, batch_id)), watch=False)


@app.command()
def retry(ctx: typer.Context, batch_id: Id, watch: Watch = False, json: Json = False) -> None:
    """Requeue the failed videos of a batch."""
    session = session_of(ctx)
    with session.connect() as client:
        finish(session, client, client.batches.retry(resolve_batch(client, batch_id)), watch)


def finish(session: CliSession, client: Client, batch: BatchStatus, watch: bool) -> None:
    """Print a batch. With ``watch``, wait until it has ended and exit 1 if a video failed."""
    if watch:
        batch = _follow(client, batch.id) or batch
    if session.json:
        output.print_json(batch)
    else:
        _show(batch)
        if batch.skipped or batch.rejected:
            _show_skipped(client, batch)
        if not watch and not batch.is_over:
            output.suggest(f"to watch: shoal batch show {batch.id[:SHORT_ID]} --watch")
    if not watch:
        return
    if not batch.videos and not batch.rejected and not batch.error:
        raise SourceNotFound(
            f"no video matches {', '.join(batch.globs)}",
            hint="Use '**' to match any number of folders, '[[]' for a bracket itself.",
        )
    failed = batch.counts[State.FAILED] or batch.counts[State.CANCELLED]
    if failed or batch.rejected or batch.error:
        raise typer.Exit(Exit.FAILED)


# --- display ---------------------------------------------------------------------------


def _show(batch: BatchStatus) -> None:
    title = batch.name or ", ".join(batch.globs) or formatting.counted(batch.uris, "URI")
    output.out.print(
        Text.assemble((output.printable(title), "bold"), "  ", output.state(batch.state))
    )
    output.out.print(
        output.facts(
            {
                "id": batch.id,
                "from": Text(output.printable(_sources(batch))),
                "prompts": Text(", ".join(batch.prompts)),
                "videos": f"{batch.videos}: {_counts(batch)}" if batch.videos else "0",
                "progress": f"{batch.progress:.1%}",
                "remaining": _remaining(batch),
                "compute time": formatting.compute_time(batch.gpu_seconds)
                if batch.gpu_seconds
                else "",
                "cost": formatting.dollars(batch.cost) if batch.cost else "",
                "failed": Text(_reasons(batch.failures), style="bold red"),
                "rejected": Text(_reasons(batch.rejected), style="bold red"),
                "skipped": _reasons(batch.skipped),
                "submitted": f"{formatting.local(batch.created_at)} "
                f"({formatting.ago(batch.created_at)})",
            }
        )
    )
    if error := batch.error:
        output.out.print()
        output.out.print(
            Text.assemble((f"{error.code}: ", "bold red"), output.printable(error.message))
        )
        output.out.print(Text.assemble(("hint: ", "bold"), output.printable(error.hint)))


def _show_skipped(client: Client, batch: BatchStatus) -> None:
    """The most recent skipped files, errors first."""
    items = sorted(client.batches.skipped(batch.id), key=lambda i: i.reason not in batch.rejected)
    grid = output.table("skipped", "reason", "detail")
    for item in items[:10]:
        cells = (item.uri, item.reason, item.detail)
        grid.add_row(*(Text(output.printable(cell)) for cell in cells))
    output.out.print()
    output.out.print(grid)
    more = sum(batch.skipped.values()) + sum(batch.rejected.values()) - len(items[:10])
    if more > 0:
        output.out.print(f"and {more} more")


def _sources(batch: BatchStatus) -> str:
    uris = [formatting.counted(batch.uris, "URI")] if batch.uris else []
    return ", ".join([*batch.globs, *uris])


def _counts(batch: BatchStatus) -> str:
    return ", ".join(f"{n} {state}" for state, n in batch.counts.items() if n)


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in counts.items())


def _remaining(batch: BatchStatus) -> str:
    return formatting.duration(batch.eta_s) if batch.eta_s else ""


# --- progress -------------------------------------------------------------------------------


def _follow(client: Client, batch_id: str) -> BatchStatus | None:
    """Show each change on stderr; return the last status."""
    from shoal.cli.watching import NoWorkerNotice

    last: BatchStatus | None = None
    notice = NoWorkerNotice(client)

    def on_round() -> None:
        if last and last.counts[State.QUEUED] == last.videos > 0:
            notice()

    with _bar() if output.err.is_terminal else _lines() as report:
        for last in client.batches.watch(batch_id, on_round=on_round):
            report(last)
    return last


@contextmanager
def _bar() -> Iterator[Callable[[BatchStatus], None]]:
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}", markup=False),
        console=output.err,
    ) as progress:
        task = progress.add_task("", total=1.0, counts="")

        def report(batch: BatchStatus) -> None:
            remaining = f"  {_remaining(batch)} remaining" if batch.eta_s else ""
            progress.update(
                task,
                description=formatting.state_name(batch.state),
                completed=batch.progress,
                counts=f"{_counts(batch)}{remaining}",
            )

        yield report


@contextmanager
def _lines() -> Iterator[Callable[[BatchStatus], None]]:
    """One line per change of state and per 10 % of progress, if stderr is not a terminal."""
    reported: list[tuple[str, int]] = []

    def report(batch: BatchStatus) -> None:
        now = (batch.state.value, int(10 * batch.progress))
        if now not in reported[-1:]:
            reported.append(now)
            state = formatting.state_name(batch.state)
            line = f"{batch.id[:SHORT_ID]}  {state}  {batch.progress:.0%}  {_counts(batch)}"
            output.err.print(Text(line))

    yield report
