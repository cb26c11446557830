"""``shoal drain``."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal.cli import output
from shoal.cli.completion import complete_worker
from shoal.cli.session import Json, session_of


def drain(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORKER",
            help="Worker names, as shown by 'shoal queue'.",
            autocompletion=complete_worker,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Drain all connected workers.")] = False,
    json: Json = False,
) -> None:
    """Drain workers: finish the current video, then exit."""
    if bool(names) == every:
        raise typer.BadParameter("Give worker names or --all.")
    session = session_of(ctx)
    with session.connect() as client:
        names = names or [worker.name for worker in client.queue().workers]
        workers = [client.drain(name) for name in names]
    if session.json:
        output.print_json({"items": workers})
        return
    for worker in workers:
        after = f" after job {worker.job}" if worker.job else ""
        output.out.print(f"{worker.name} will exit{after}", markup=False, highlight=False)
