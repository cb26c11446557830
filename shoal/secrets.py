"""Secrets out of what is written down: logs, errors, tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
MIN_CHARS = 6  # shorter values would blot out words that have nothing to do with them

# What comes before a secret is kept, so that a line still says what it is about. Each search ends
# where the next could begin, or has a length: the time grows with the text, not with its square.
_SHAPES = re.compile(
    r"""
      (?P<header> \bbearer\s+ | \bauthorization\W{1,4}\w+\s+ ) [\w.~+/=-]{6,}
    | (?P<user> \b[a-z][a-z0-9+.-]{0,40}://[^\s/?\#@:'"]* ) : [^\s/?\#@'"]+ (?=@)
    | (?P<query> [?&;] (?: [\w.-]*
          (?: token | secret | signature | credential | password | api[_-]?key ) | sig | key ) = )
        [^\s&;'"<>]+
    | \b (?P<ours> shoal_ ) [\w-]{43}
    | \b (?P<other> whsec_ | hf_ ) [a-z0-9+/=]{24,}
    | (?<![\w-]) (?P<jwt> eyJ ) [\w-]+\.[\w-]+\.[\w-]*
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A line without any of these, as most are, need not be searched.
_MARKS = ("earer", "EARER", "uthorization", "://", "=", "shoal_", "whsec_", "hf_", "eyJ")

_known: list[str] = []


def hide(values: Iterable[str]) -> None:
    """From now on leave these out, wherever they turn up in this process."""
    found = {*_known, *(value for value in values if len(value) >= MIN_CHARS)}
    _known[:] = sorted(found, key=len, reverse=True)


def redact(text: str) -> str:
    """The text without known secrets, and without what looks like one."""
    for value in _known:
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(_hidden, text) if any(mark in text for mark in _MARKS) else text


def _hidden(found: re.Match[str]) -> str:
    kept = next(part for part in found.groups() if part is not None)
    return f"{kept}:{HIDDEN}" if found["user"] is not None else kept + HIDDEN
