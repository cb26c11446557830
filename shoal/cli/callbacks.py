"""``shoal callback``: list webhook deliveries and resend them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from shoal.cli import output
from shoal.cli.ids import resolve_job
from shoal.cli.session import Json, session_of
from shoal.model.delivery import Delivery, DeliveryState

app = typer.Typer(help="List webhook deliveries and resend them.")


@app.command("list")
def list_callbacks(
    ctx: typer.Context,
    state: Annotated[DeliveryState | None, typer.Option(help="Filter by state.")] = None,
    job: Annotated[str, typer.Option(metavar="ID", help="Filter by job ID or unique prefix.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=200, help="Maximum number of rows.")
    ] = 20,
    json: Json = False,
) -> None:
    """List webhook deliveries, newest first."""
    session = session_of(ctx)
    with session.connect() as client:
        found = client.callbacks(
            state=state, job=resolve_job(client, job) if job else "", limit=limit
        )
    if session.json:
        output.print_json({"items": found})
    elif found:
        _show(found)
    else:
        output.err.print("no webhooks" + (" match" if state or job else ""))


@app.command()
def replay(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="IDs of deliveries.")],
    json: Json = False,
) -> None:
    """Resend webhooks."""
    session = session_of(ctx)
    with session.connect() as client:
        sent = [client.replay(delivery_id) for delivery_id in ids]
    if session.json:
        output.print_json({"items": sent})
    else:
        _show(sent)


def _show(deliveries: Sequence[Delivery]) -> None:
    grid = output.table(
        "id", "state", "job", "type", "attempts", "last response", right=("attempts",)
    )
    grid.columns[0].no_wrap = True
    for delivery in deliveries:
        last = delivery.tries[-1] if delivery.tries else None
        grid.add_row(
            delivery.id,
            delivery.state.value,
            delivery.job[:12],
            delivery.type,
            str(delivery.attempts),
            Text(output.printable(last.error or str(last.status)) if last else ""),
        )
    output.out.print(grid)
