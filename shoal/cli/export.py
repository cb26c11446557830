"""``shoal export``: convert existing results to another format, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal import formatting
from shoal.cli import output
from shoal.cli.completion import complete_format, complete_job
from shoal.cli.files import Force, refuse_to_replace
from shoal.cli.ids import resolve_job
from shoal.cli.session import CliSession, Json, session_of

if TYPE_CHECKING:
    from shoal.results.reader import Result


def export(
    ctx: typer.Context,
    job: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Job ID, unique prefix, or folder of results (or its metadata file).",
            autocompletion=complete_job,
        ),
    ],
    kinds: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            help="Output format, such as coco or mot; repeatable.",
            autocompletion=complete_format,
        ),
    ],
    to: Annotated[Path, typer.Option(help="Target directory.", file_okay=False)] = Path(),
    force: Force = False,
    json: Json = False,
) -> None:
    """Export results to another format: **shoal export ID --format coco**"""
    session = session_of(ctx)
    result = _read(session, job)
    if not force:
        refuse_to_replace(result.export_path(kind, to) for kind in kinds)
    saved = [result.export(kind, to) for kind in kinds]
    if session.json:
        output.print_json({"files": saved})
        return
    for path in saved:
        output.out.print(f"{path}  {formatting.size(path.stat().st_size)}", markup=False)


def _read(session: CliSession, job: str) -> Result:
    from shoal.results.reader import from_client, read

    if "://" in job or Path(job).exists():
        return read(job)
    with session.connect() as client:
        return from_client(client, resolve_job(client, job))
