"""``shoal-autoscaler``: the controller, and the commands behind ``shoal pool``."""

from __future__ import annotations

from typing import Annotated

import typer

from autoscaler import pool
from autoscaler.service import serve
from autoscaler.settings import get_scale_settings
from shoal.cli.session import CliSession, ShoalGroup

app = typer.Typer(
    cls=ShoalGroup,
    help="Scale Shoal workers by queue depth. All settings are **SHOAL_...** environment "
    "variables.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(pool.app, name="pool")


@app.callback()
def start(ctx: typer.Context) -> None:
    """Options of every command."""
    ctx.obj = CliSession("", "")


@app.command()
def run(
    launcher: Annotated[
        str,
        typer.Option(help="Launcher: sky or local.", envvar="SHOAL_SCALE_LAUNCHER", metavar="NAME"),
    ] = "sky",
) -> None:
    """Run the controller until SIGINT or SIGTERM. Several can run; one is the leader."""
    if launcher not in ("sky", "local"):
        raise typer.BadParameter("There are sky and local.", param_hint="--launcher")
    serve(get_scale_settings().model_copy(update={"launcher": launcher}))
