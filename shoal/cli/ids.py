"""Ids that are given by how they begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from shoal.errors import BatchNotFound, JobNotFound, RequestError, ShoalError

if TYPE_CHECKING:
    from shoal.client import Client

ID_CHARS = 24
MIN_PREFIX_CHARS = 4


def resolve_job(client: Client, id_or_prefix: str) -> str:
    """A job's full id.

    Raises:
        JobNotFound, RequestError: no job has an id that starts so, or several have.
    """
    return _resolve(
        id_or_prefix,
        lambda prefix: (record.id for record in client.list(text=prefix)),
        ("job", "jobs"),
        JobNotFound,
    )


def resolve_batch(client: Client, id_or_prefix: str) -> str:
    """A batch's full id.

    Raises:
        BatchNotFound, RequestError: no batch has an id that starts so, or several have.
    """
    return _resolve(
        id_or_prefix,
        lambda _: (batch.id for batch in client.batches.list()),
        ("batch", "batches"),
        BatchNotFound,
    )


def _resolve(
    id_or_prefix: str,
    candidates: Callable[[str], Iterable[str]],
    nouns: tuple[str, str],
    missing: type[ShoalError],
) -> str:
    one, many = nouns
    prefix = id_or_prefix.lower()
    if len(prefix) >= ID_CHARS:
        return prefix
    found: list[str] = []
    if len(prefix) >= MIN_PREFIX_CHARS:
        found = [each for each in candidates(prefix) if each.startswith(prefix)]
    if not found:
        raise missing(f"no {one} has an id that starts with {id_or_prefix!r}")
    if len(found) > 1:
        raise RequestError(
            f"{len(found)} {many} have an id that starts with {prefix}", hint="Give more of it."
        )
    return found[0]
