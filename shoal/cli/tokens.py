"""``shoal token``: create, list and revoke API tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal import formatting
from shoal.cli import output
from shoal.cli.session import Json, session_of
from shoal.model.share import MAX_WEIGHT, Level
from shoal.model.token import Limits, Scope

app = typer.Typer(help="Manage API tokens.", no_args_is_help=True)


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token, shown in logs.")],
    scope: Annotated[
        Scope, typer.Option(help="Permissions; each scope includes the previous ones.")
    ],
    priority: Annotated[
        Level, typer.Option(help="Priority of submissions that set none.")
    ] = Level.NORMAL,
    weight: Annotated[
        int, typer.Option(min=1, max=MAX_WEIGHT, help="Turns of its single submissions.")
    ] = 1,
    max_queued: Annotated[
        int, typer.Option(min=0, help="Videos that wait at once; 0 = unlimited.")
    ] = 0,
    max_submissions: Annotated[
        int, typer.Option(min=0, help="Videos queued in a day; 0 = unlimited.")
    ] = 0,
    max_upload_bytes: Annotated[
        int, typer.Option(min=0, help="Bytes uploaded in a day; 0 = unlimited.")
    ] = 0,
    json: Json = False,
) -> None:
    """Create a token and print it. It cannot be shown again: the API stores only a hash."""
    session = session_of(ctx)
    with session.connect() as client:
        limits = Limits(
            queued=max_queued,
            submissions_per_day=max_submissions,
            upload_bytes_per_day=max_upload_bytes,
        )
        created = client.create_token(name, scope, priority=priority, weight=weight, limits=limits)
    if session.json:
        output.print_json(created)
    else:
        output.out.print(created.secret, markup=False, soft_wrap=True)
        output.suggest(
            "copy it now: it cannot be shown again; clients read it from SHOAL_API_TOKEN"
        )


@app.command("list")
def list_tokens(ctx: typer.Context, json: Json = False) -> None:
    """List the tokens, without their secrets."""
    session = session_of(ctx)
    with session.connect() as client:
        found = client.tokens()
    if session.json:
        output.print_json({"items": found})
    elif found:
        grid = output.table("name", "scope", "created", "by")
        for token in found:
            when = formatting.ago(token.created_at)
            grid.add_row(token.name, token.scope.value, when, output.printable(token.created_by))
        output.out.print(grid, markup=False)
    else:
        output.err.print("no tokens besides those in SHOAL_API_TOKENS")


@app.command()
def revoke(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of tokens.")],
) -> None:
    """Revoke tokens. All API processes reject them within 5 seconds."""
    with session_of(ctx).connect() as client:
        for name in names:
            client.revoke_token(name)
            output.err.print(f"revoked {output.printable(name)}", markup=False)
