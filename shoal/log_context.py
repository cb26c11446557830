"""What a line of a log is about, and its form: text for people, or JSON for machines.

A worker and its model process do one video at a time, so the video's id holds for the process; the
API does many things at once, so there it holds for the request.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31;1", "DEBUG": "2"}

_of_process: dict[str, str] = {}
_of_request: ContextVar[dict[str, str] | None] = ContextVar("shoal_log", default=None)


def work_on(job_id: str) -> None:
    """From now on this process's lines are about a job; "": about none."""
    _of_process.clear()
    if job_id:
        _of_process["job"] = job_id


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Lines of this context are about a request, and whatever ``note`` adds."""
    token = _of_request.set(dict(fields))
    try:
        yield
    finally:
        _of_request.reset(token)


def note(**fields: str) -> None:
    """Add to what the lines of the request at hand are about."""
    known = _of_request.get()
    if known is not None:
        known.update(fields)


def subject() -> dict[str, str]:
    """What a line written here and now is about."""
    return {**_of_process, **(_of_request.get() or {})}


def dress(handler: logging.Handler) -> None:
    """Give a handler the form that SHOAL_LOG_FORMAT names.

    Read from the environment: a log is wanted before the settings are known to be right.
    """
    inner = handler.formatter or logging.Formatter()
    if os.environ.get("SHOAL_LOG_FORMAT", "text").lower() == "json":
        handler.setFormatter(JsonLines(type(inner)("%(message)s")))  # which may leave secrets out
    elif sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        handler.setFormatter(Coloured(inner))


class JsonLines(logging.Formatter):
    """One JSON object a line. ``inner`` writes the message and the traceback."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        message, _, traceback = self.inner.format(record).partition("\n")
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
            **subject(),
        }
        return json.dumps(line | ({"traceback": traceback} if traceback else {}))


class Coloured(logging.Formatter):
    """A line whose level stands out."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        line = self.inner.format(record)
        colour = _COLOURS.get(record.levelname)
        name = record.levelname
        return line.replace(name, f"\033[{colour}m{name}\033[0m", 1) if colour else line
