"""``shoal export``: another format of results that there are, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shoal.cli import output
from shoal.cli.ids import resolve_job
from shoal.cli.session import Json, Session, session_of

if TYPE_CHECKING:
    from shoal.reader import Result


def export(
    ctx: typer.Context,
    job: Annotated[
        str,
        typer.Argument(metavar="ID", help="A job's id, how it begins, or the folder of results."),
    ],
    kinds: Annotated[
        list[str],
        typer.Option("--format", "-f", help="Such as coco or mot; repeat it for more."),
    ],
    to: Annotated[Path, typer.Option(help="Folder to put it in.", file_okay=False)] = Path(),
    json: Json = False,
) -> None:
    """Write results in another format: **shoal export ID --format coco**"""
    session = session_of(ctx)
    result = _read(session, job)
    saved = [result.export(kind, to) for kind in kinds]
    if session.json:
        output.print_json({"files": saved})
        return
    for path in saved:
        output.out.print(f"{path}  {output.size(path.stat().st_size)}", markup=False)


def _read(session: Session, job: str) -> Result:
    from shoal.reader import from_client, read

    if "://" in job or Path(job).exists():
        return read(job)
    with session.connect() as client:
        return from_client(client, resolve_job(client, job))
