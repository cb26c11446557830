"""``shoal batch``: many videos as one. ``shoal submit`` makes a batch of URIs with wildcards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from shoal.cli import output
from shoal.cli.ids import resolve_batch
from shoal.cli.session import Json, Session, session_of
from shoal.errors import SourceNotFound
from shoal.exits import Exit
from shoal.globs import WILD
from shoal.jobs import State
from shoal.money import dollars

if TYPE_CHECKING:
    from shoal.batch_wire import BatchStatus
    from shoal.client import Client

SHORT_ID = 12

app = typer.Typer(help="Batches: many videos as one.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A batch's id, or how it begins.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Wait for the outcome.")]


def is_pattern(source: str) -> bool:
    """Whether it is a URI with wildcards; a local path is the shell's to expand."""
    _, found, rest = source.partition("://")
    return bool(found) and bool(WILD.search(rest))


@app.command("list")
def list_batches(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
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
    grid = output.table("id", "state", "name", *numbers, "left", "submitted", right=numbers)
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
            _left(batch),
            output.ago(batch.created_at),
        )
    output.out.print(grid)


@app.command()
def show(ctx: typer.Context, batch_id: Id, watch: Watch = False, json: Json = False) -> None:
    """Show how far a batch is, and why videos failed or were left out."""
    session = session_of(ctx)
    with session.connect() as client:
        batch_id = resolve_batch(client, batch_id)
        finish(session, client, client.batches.get(batch_id), watch)


@app.command()
def cancel(ctx: typer.Context, batch_id: Id, json: Json = False) -> None:
    """Cancel all videos of a batch that have not ended."""
    session = session_of(ctx)
    with session.connect() as client:
        finish(session, client, client.batches.cancel(resolve_batch(client, batch_id)), watch=False)


@app.command()
def retry(ctx: typer.Context, batch_id: Id, watch: Watch = False, json: Json = False) -> None:
    """Queue the failed videos of a batch again."""
    session = session_of(ctx)
    with session.connect() as client:
        finish(session, client, client.batches.retry(resolve_batch(client, batch_id)), watch)


def finish(session: Session, client: Client, batch: BatchStatus, watch: bool) -> None:
    """Show a batch, once it has ended if it is watched: then its outcome is the command's."""
    if watch:
        batch = _follow(client.batches.watch(batch.id)) or batch
    if session.json:
        output.print_json(batch)
    else:
        _show(batch)
        if batch.skipped or batch.rejected:
            _show_skipped(client, batch)
        if not watch and not batch.is_over:
            output.advise(f"follow with: shoal batch show {batch.id[:SHORT_ID]} --watch")
    if not watch:
        return
    if not batch.videos and not batch.rejected and not batch.error:
        raise SourceNotFound(
            f"no video matches {', '.join(batch.globs)}", hint="'**' stands for any folders."
        )
    failed = batch.counts[State.FAILED] or batch.counts[State.CANCELLED]
    if failed or batch.rejected or batch.error:
        raise typer.Exit(Exit.FAILED)


# --- how a batch looks ---------------------------------------------------------------------------


def _show(batch: BatchStatus) -> None:
    title = batch.name or ", ".join(batch.globs) or output.counted(batch.uris, "URI")
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
                "left": _left(batch),
                "GPU time": output.duration(batch.gpu_seconds) if batch.gpu_seconds else "",
                "cost": dollars(batch.cost) if batch.cost else "",
                "failed": Text(_reasons(batch.failures), style="bold red"),
                "rejected": Text(_reasons(batch.rejected), style="bold red"),
                "skipped": _reasons(batch.skipped),
                "submitted": f"{output.clock(batch.created_at)} ({output.ago(batch.created_at)})",
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
    """The last ones, errors before others."""
    items = sorted(client.batches.skipped(batch.id), key=lambda i: i.reason not in batch.rejected)
    grid = output.table("left out", "reason", "detail")
    for item in items[:10]:
        cells = (item.uri, item.reason, item.detail)
        grid.add_row(*(Text(output.printable(cell)) for cell in cells))
    output.out.print()
    output.out.print(grid)
    more = sum(batch.skipped.values()) + sum(batch.rejected.values()) - len(items[:10])
    if more > 0:
        output.out.print(f"and {more} more")


def _sources(batch: BatchStatus) -> str:
    uris = [output.counted(batch.uris, "URI")] if batch.uris else []
    return ", ".join([*batch.globs, *uris])


def _counts(batch: BatchStatus) -> str:
    return ", ".join(f"{n} {state}" for state, n in batch.counts.items() if n)


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in counts.items())


def _left(batch: BatchStatus) -> str:
    return output.duration(batch.eta_s) if batch.eta_s else ""


# --- following one -------------------------------------------------------------------------------


def _follow(changes: Iterable[BatchStatus]) -> BatchStatus | None:
    """Show each change on stderr; returns the last."""
    last = None
    with _bar() if output.err.is_terminal else _lines() as report:
        for last in changes:
            report(last)
    return last


@contextmanager
def _bar() -> Iterator[Callable[[BatchStatus], None]]:
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        console=output.err,
    ) as progress:
        task = progress.add_task("", total=1.0, told="")

        def report(batch: BatchStatus) -> None:
            left = f"  {_left(batch)} left" if batch.eta_s else ""
            progress.update(
                task,
                description=str(batch.state),
                completed=batch.progress,
                told=f"{_counts(batch)}{left}",
            )

        yield report


@contextmanager
def _lines() -> Iterator[Callable[[BatchStatus], None]]:
    """A line per change of state and per tenth, where nobody is looking."""
    told: list[tuple[str, int]] = []

    def report(batch: BatchStatus) -> None:
        now = (batch.state.value, int(10 * batch.progress))
        if now not in told[-1:]:
            told.append(now)
            line = f"{batch.id[:SHORT_ID]}  {batch.state}  {batch.progress:.0%}  {_counts(batch)}"
            output.err.print(Text(line))

    yield report
