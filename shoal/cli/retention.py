"""The commands that delete, and tell what is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from shoal import formatting
from shoal.cli import output
from shoal.cli.ids import resolve_job
from shoal.cli.jobs import Ids
from shoal.cli.session import ForEach, Json, session_of

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def delete(ctx: typer.Context, job_ids: Ids, yes: Yes = False, json: Json = False) -> None:
    """Delete jobs with their results, checkpoints and uploads. A source in a bucket is kept."""
    from shoal.cli.views import show_jobs

    if not yes:
        question = f"Delete {formatting.counted(len(job_ids), 'job')} with all results?"
        typer.confirm(question, abort=True, err=True)
    batch = ForEach(session_of(ctx))
    with batch.session.connect() as client:
        batch.run(job_ids, lambda job_id: client.delete(resolve_job(client, job_id)))
    batch.finish(show_jobs)


def storage(ctx: typer.Context, json: Json = False) -> None:
    """Show how much is stored where: uploads, results and segments."""
    session = session_of(ctx)
    with session.connect() as client:
        page = client.storage()
    if session.json:
        output.print_json(page)
        return
    grid = output.table("what", "where", "files", "size", right=("files", "size"))
    for use in page.items:
        size = formatting.size(use.bytes)
        grid.add_row(use.what, output.printable(use.where), str(use.files), size)
    output.out.print(grid, markup=False)
    for where, why in page.unreadable.items():
        output.err.print(f"cannot list {output.printable(where)}: {why}", markup=False)
