"""What the shell proposes on TAB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from shoal import engines
from shoal.errors import ShoalError
from shoal.model.outputs import DERIVED, KINDS

if TYPE_CHECKING:
    from shoal.client.client import Client

MOST = 100  # the newest IDs are proposed

Proposals = list[tuple[str, str]]  # what is inserted, and what is said of it


def complete_kind(incomplete: str) -> list[str]:
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def complete_format(incomplete: str) -> list[str]:
    return [kind for kind in DERIVED if kind.startswith(incomplete)]


def complete_engine(incomplete: str) -> list[str]:
    return [name for name in (engines.AUTO, *engines.names()) if name.startswith(incomplete)]


def complete_job(ctx: typer.Context, incomplete: str) -> Proposals:
    from shoal.cli.output import video_name

    def jobs(client: Client) -> Iterable[tuple[str, str]]:
        for record in client.list(limit=MOST):
            yield record.id, f"{record.state} {video_name(record.spec.uri)}"

    return _proposed(ctx, incomplete, jobs)


def complete_batch(ctx: typer.Context, incomplete: str) -> Proposals:
    from shoal.cli.output import printable

    def batches(client: Client) -> Iterable[tuple[str, str]]:
        for batch in client.batches.list(limit=MOST):
            yield batch.id, printable(f"{batch.state} {batch.name or ', '.join(batch.globs)}")

    return _proposed(ctx, incomplete, batches)


def complete_worker(ctx: typer.Context, incomplete: str) -> Proposals:
    def workers(client: Client) -> Iterable[tuple[str, str]]:
        return [(each.name, f"{each.state} {each.engine}") for each in client.queue().workers]

    return _proposed(ctx, incomplete, workers)


def _proposed(
    ctx: typer.Context,
    incomplete: str,
    items: Callable[[Client], Iterable[tuple[str, str]]],
) -> Proposals:
    """Those that begin so; none if the API does not answer: TAB has no place for an error."""
    from shoal.cli.ids import SHORT_ID
    from shoal.cli.session import read_token
    from shoal.client.client import DEFAULT_URL, Client

    given = ctx.find_root().params  # the callback that reads them has not run
    url = given.get("url") or os.environ.get("SHOAL_API_URL") or DEFAULT_URL
    file = given.get("token_file") or os.environ.get("SHOAL_API_TOKEN_FILE", "")
    try:
        with Client(url, read_token("" if file == "-" else file)) as client:
            found = [(name, told) for name, told in items(client) if name.startswith(incomplete)]
    except ShoalError:
        return []
    short = len(incomplete) < SHORT_ID
    return [(name[:SHORT_ID] if short and _is_id(name) else name, told) for name, told in found]


def _is_id(name: str) -> bool:
    from shoal.model.ids import is_job_id

    return is_job_id(name)
