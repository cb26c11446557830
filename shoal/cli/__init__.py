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
    previews,
    refine,
    retention,
    services,
    stack,
    submit,
    tokens,
    workers,
)
from shoal.cli.session import CliSession, ShoalGroup, read_token, refuse_secrets

EXIT_CODES = """
**Exit codes:** 0 success; 1 a job failed or was cancelled, or an internal error; 2 usage error;
3 job, result or video not found; 4 the API or Redis cannot be reached; 5 request rejected
(invalid prompt or input, missing token); 130 interrupted.
"""

app = typer.Typer(
    cls=ShoalGroup,
    help="Track objects in videos by text prompt.",
    epilog=EXIT_CODES,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_set: bool) -> None:
    if is_set:
        typer.echo(f"shoal {__version__}")
        raise typer.Exit


@app.callback()
def start(
    ctx: typer.Context,
    url: Annotated[
        str,
        typer.Option(
            envvar="SHOAL_API_URL",
            metavar="URL",
            help="URL of the API.",
        ),
    ] = "http://127.0.0.1:8000",
    token_file: Annotated[
        str,
        typer.Option(
            envvar="SHOAL_API_TOKEN_FILE",
            metavar="PATH",
            help="File with the API token; '-' reads standard input. Or set SHOAL_API_TOKEN.",
        ),
    ] = "",
    token: Annotated[str, typer.Option("--token", hidden=True)] = "",
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of every command."""
    refuse_secrets(ctx, url, token)
    ctx.obj = CliSession(url, read_token(token_file))


WORK = "Jobs"
INGEST = "Buckets"
RUN = "Services"

app.command(rich_help_panel=WORK)(submit.submit)
app.command(rich_help_panel=WORK)(previews.preview)
app.command("list", rich_help_panel=WORK)(jobs.list_jobs)
app.command(rich_help_panel=WORK)(jobs.show)
app.command(rich_help_panel=WORK)(jobs.watch)
app.command(rich_help_panel=WORK)(jobs.cancel)
app.command(rich_help_panel=WORK)(jobs.retry)
app.command(rich_help_panel=WORK)(retention.delete)
app.command(rich_help_panel=WORK)(refine.refine)
app.command(rich_help_panel=WORK)(jobs.download)
app.command(rich_help_panel=WORK)(export.export)
app.command(rich_help_panel=WORK)(jobs.queue)
app.command(rich_help_panel=WORK)(jobs.priority)
app.command(rich_help_panel=WORK)(jobs.pause)
app.command(rich_help_panel=WORK)(jobs.resume)
app.add_typer(batches.app, name="batch", rich_help_panel=WORK)
app.add_typer(callbacks.app, name="callback", rich_help_panel=WORK)
app.command(rich_help_panel=INGEST)(ingest.reconcile)
app.add_typer(ingest.rules, name="rules", rich_help_panel=INGEST)
app.add_typer(ingest.events, name="events", rich_help_panel=INGEST)
app.add_typer(tokens.app, name="token", rich_help_panel=RUN)
app.command(rich_help_panel=RUN)(retention.storage)
app.command(rich_help_panel=RUN)(demo.demo)
app.command(rich_help_panel=RUN)(stack.up)
app.command(rich_help_panel=RUN)(services.api)
app.command(rich_help_panel=RUN)(services.worker)
app.command(rich_help_panel=RUN)(workers.drain)
app.command(rich_help_panel=RUN)(services.doctor)
# All arguments, including --help, are passed on to the autoscaler.
app.command(
    rich_help_panel=RUN,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(pool.pool)
