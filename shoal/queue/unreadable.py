"""What in Redis cannot be read: left out of lists, told of in the log, and counted.

Another version may have written it, or another program; it is no reason for all else to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from redis.exceptions import ResponseError

from shoal.errors import UnreadableRecord
from shoal.queue.connection import outage_of

T = TypeVar("T")

# Errors of pydantic, JSON and Unicode are ValueErrors; Redis answers one where a key has another
# type.
FAULTS = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError,
          ResponseError)  # fmt: skip
MAX_KNOWN = 1000  # of each kind; more are neither told of nor counted

_known: dict[str, set[str]] = {}

log = logging.getLogger(__name__)


def parsed(kind: str, name: str, parse: Callable[[Any], T], value: Any) -> T:
    """What ``parse`` makes of a value from Redis.

    Args:
        kind: what it is, such as 'job'.
        name: its id.
        value: also the error that Redis answered instead.

    Raises:
        UnreadableRecord
        RedisUnavailable: the error tells of an outage, and nothing of the value.
    """
    if isinstance(value, ResponseError) and (outage := outage_of(value)):
        raise outage
    try:
        if isinstance(value, ResponseError):
            raise value
        return parse(value)
    except FAULTS as error:
        _note(kind, name, error)
        raise UnreadableRecord(f"what Redis holds of {kind} {name[:80]} cannot be read") from error


def readable(
    kind: str, entries: Iterable[tuple[str, Any]], parse: Callable[[Any], T]
) -> list[tuple[str, T]]:
    """Names and values of what can be read, of names and what Redis holds."""
    found = []
    for name, value in entries:
        try:
            found.append((name, parsed(kind, name, parse, value)))
        except UnreadableRecord:
            continue
    return found


def counts() -> dict[str, int]:
    """How many of each kind this process has met."""
    return {kind: len(names) for kind, names in _known.items()}


def _note(kind: str, name: str, error: Exception) -> None:
    """Each is told of once, however often it is met."""
    names = _known.setdefault(kind, set())
    if name in names or len(names) >= MAX_KNOWN:
        return
    names.add(name)
    cause = str(error).partition("\n")[0][:200]
    log.error("%s %s cannot be read and is left out: %s", kind, name[:80], cause)
