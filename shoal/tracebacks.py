"""Tracebacks of which no part can pass for a line of a log, or steer a terminal."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

MAX_CHAIN, MAX_PARTS, MAX_DEPTH = 30, 15, 10  # of causes, and of groups: Python's own for these

# Control characters but the tab, line ends of Unicode, what turns text round, and surrogates.
_CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n"


def one_line(text: str) -> str:
    """The text with its control characters, line breaks too, as escapes."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped_lines(text: str) -> str:
    """The text with its control characters as escapes; lines stay lines."""
    return "\n".join(map(one_line, text.split("\n")))


def format_traceback(error: BaseException) -> str:
    """As Python prints it, but what an exception says of itself is one line.

    Messages hold what users and files say: a line break in one would begin a line of its own.
    """
    return "\n".join(_lines(error))


def _lines(error: BaseException, depth: int = 0) -> Iterator[str]:
    for each, link in reversed(_chain(error)):
        if each.__traceback__ is not None:
            yield "Traceback (most recent call last):"
            frames = "".join(traceback.format_tb(each.__traceback__))
            yield escaped_lines(frames.rstrip("\n"))
        yield one_line("".join(traceback.format_exception_only(each)).rstrip("\n"))
        if isinstance(each, BaseExceptionGroup) and depth < MAX_DEPTH:
            for part in each.exceptions[:MAX_PARTS]:
                for line in _lines(part, depth + 1):
                    yield from ("  | " + each_line for each_line in line.split("\n"))
        if link:
            yield link


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """An exception and those that led to it, each with what leads on to the one before."""
    found, link = list[tuple[BaseException, str]](), ""
    seen = set[int]()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(found) < MAX_CHAIN:
        seen.add(id(current))
        found.append((current, link))
        if current.__cause__ is not None:
            current, link = current.__cause__, _CAUSE
        else:
            hidden = current.__suppress_context__
            current, link = None if hidden else current.__context__, _CONTEXT
    return found
