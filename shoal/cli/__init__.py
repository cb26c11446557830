"""The command line: ``shoal``."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal import __version__
from shoal.cli import (
    batches,
    callbacks,
    demo,
    export,
    ingest,
    jobs,
    pool,
    services,
    stack,
    tokens,
    workers,
)
from shoal.cli.session import Session, ShoalGroup, read_token

EXIT_CODES = """
**Exit codes:** 0 done; 1 a job failed or was cancelled, or something unexpected happened;
2 wrong usage; 3 no such job, result or video; 4 the API or Redis does not answer;
5 refused: a bad prompt, a bad input, a missing token; 130 interrupted.
"""

app = typer.Typer(
    cls=ShoalGroup,
    help="Videos in, tracked and text-prompted object masks out.",
    epilog=EXIT_CODES,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shoal {__version__}")
        raise typer.Exit


@app.callback()
def start(
    ctx: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="SHOAL_API_URL", metavar="URL", help="Address of the API.")
    ] = "http://127.0.0.1:8000",
    token_file: Annotated[
        str,
        typer.Option(
            envvar="SHOAL_API_TOKEN_FILE",
            metavar="PATH",
            help="File with the API token; '-': standard input. Or set SHOAL_API_TOKEN.",
        ),
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What every command shares."""
    ctx.obj = Session(url, read_token(token_file))


WORK = "Jobs"
INGEST = "Buckets"
RUN = "Services"

app.command(rich_help_panel=WORK)(jobs.submit)
app.command("list", rich_help_panel=WORK)(jobs.list_jobs)
app.command(rich_help_panel=WORK)(jobs.show)
app.command(rich_help_panel=WORK)(jobs.watch)
app.command(rich_help_panel=WORK)(jobs.cancel)
app.command(rich_help_panel=WORK)(jobs.retry)
app.command(rich_help_panel=WORK)(jobs.download)
app.command(rich_help_panel=WORK)(export.export)
app.command(rich_help_panel=WORK)(jobs.queue)
app.add_typer(batches.app, name="batch", rich_help_panel=WORK)
app.add_typer(callbacks.app, name="callback", rich_help_panel=WORK)
app.command(rich_help_panel=INGEST)(ingest.reconcile)
app.add_typer(ingest.rules, name="rules", rich_help_panel=INGEST)
app.add_typer(ingest.events, name="events", rich_help_panel=INGEST)
app.add_typer(tokens.app, name="token", rich_help_panel=RUN)
app.command(rich_help_panel=RUN)(demo.demo)
app.command(rich_help_panel=RUN)(stack.up)
app.command(rich_help_panel=RUN)(services.api)
app.command(rich_help_panel=RUN)(services.worker)
app.command(rich_help_panel=RUN)(workers.drain)
app.command(rich_help_panel=RUN)(services.doctor)
# All but its name is the autoscaler's, --help too.
app.command(
    rich_help_panel=RUN,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(pool.pool)
