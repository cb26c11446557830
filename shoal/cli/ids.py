"""Resolves unique prefixes of IDs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from shoal.errors import BatchNotFound, JobNotFound, RequestError, ShoalError

if TYPE_CHECKING:
    from shoal.client.client import Client

ID_CHARS = 24
SHORT_ID = 12  # characters that are shown; commands accept any unique prefix


def resolve_job(client: Client, id_or_prefix: str) -> str:
    """The full ID of a job.

    Raises:
        JobNotFound: no job has this prefix.
        RequestError: several jobs have it.
    """
    return _resolve(
        id_or_prefix,
        lambda prefix: (record.id for record in client.list(text=prefix)),
        ("job", "jobs"),
        JobNotFound,
    )


def resolve_batch(client: Client, id_or_prefix: str) -> str:
    """The full ID of a batch.

    Raises:
        BatchNotFound: no batch has this prefix.
        RequestError: several batches have it.
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
    begin_so = (each for each in candidates(prefix) if prefix and each.startswith(prefix))
    found = list(islice(begin_so, 2))
    if not found:
        raise missing(f"no {one} ID starts with {id_or_prefix!r}")
    if len(found) > 1:
        raise RequestError(
            f"several {many} have an ID that starts with {prefix}",
            hint="Give a longer prefix.",
        )
    return found[0]
