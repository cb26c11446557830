"""One line per event on stderr, the same in every process, and no secret in any."""

from __future__ import annotations

import copy
import logging
from types import TracebackType
from typing import Any

from shoal import log_context
from shoal.secrets import redact
from shoal.tracebacks import escaped_lines, format_traceback, one_line

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class Formatter(logging.Formatter):
    """Leaves out secrets, and lets nothing that is said pass for a line, or steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its own name
        return one_line(super().formatMessage(record).rstrip())

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, ...],
    ) -> str:
        return format_traceback(ei[1]) if ei[1] else ""

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return escaped_lines(stack_info)

    def format(self, record: logging.LogRecord) -> str:
        own: Any = copy.copy(record)
        own.exc_text = None  # as another handler's formatter wrote it, and kept it
        return redact(super().format(own))


def setup(level: int = logging.INFO) -> None:
    """Log to stderr; the libraries only speak up when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(FORMAT, datefmt="%H:%M:%S"))
    log_context.dress(handler)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("shoal", "api", "worker", "autoscaler"):
        logging.getLogger(name).setLevel(level)
