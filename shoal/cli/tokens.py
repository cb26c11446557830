"""``shoal token``: make, list and revoke API tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal.cli import output
from shoal.cli.session import Json, session_of
from shoal.tokens import Scope

app = typer.Typer(help="API tokens: who may do what.", no_args_is_help=True)


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for; the log shows it.")],
    scope: Annotated[Scope, typer.Option(help="Each includes those before it.")],
    json: Json = False,
) -> None:
    """Make a token and print it. It is shown this once; the API keeps only a hash."""
    session = session_of(ctx)
    with session.connect() as client:
        made = client.create_token(name, scope)
    if session.json:
        output.print_json(made)
    else:
        output.out.print(made.secret, markup=False, soft_wrap=True)
        output.advise("it cannot be shown again; clients read it from SHOAL_API_TOKEN")


@app.command("list")
def list_tokens(ctx: typer.Context, json: Json = False) -> None:
    """List the tokens, without their secrets."""
    session = session_of(ctx)
    with session.connect() as client:
        found = client.tokens()
    if session.json:
        output.print_json({"items": found})
    elif found:
        grid = output.table("name", "scope", "made", "by")
        for token in found:
            when = output.ago(token.created_at)
            grid.add_row(token.name, token.scope.value, when, output.printable(token.created_by))
        output.out.print(grid, markup=False)
    else:
        output.err.print("no tokens beside those of SHOAL_API_TOKENS")


@app.command()
def revoke(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Which ones.")],
) -> None:
    """Revoke tokens: within five seconds nothing can be done with them."""
    with session_of(ctx).connect() as client:
        for name in names:
            client.revoke_token(name)
            output.err.print(f"revoked {output.printable(name)}", markup=False)
