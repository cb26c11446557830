"""``shoal drain``."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal.cli import output
from shoal.cli.session import Json, session_of


def drain(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="WORKER", help="As 'shoal queue' names them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All workers that are there now.")] = False,
    json: Json = False,
) -> None:
    """Have workers take nothing new and end when their video is done, as for an upgrade."""
    if bool(names) == every:
        raise typer.BadParameter("Name workers, or give --all.")
    session = session_of(ctx)
    with session.connect() as client:
        names = names or [worker.name for worker in client.queue().workers]
        workers = [client.drain(name) for name in names]
    if session.json:
        output.print_json({"items": workers})
        return
    for worker in workers:
        on = f", when {worker.job} is done" if worker.job else ""
        output.out.print(f"{worker.name} will end{on}", markup=False, highlight=False)
