"""One line per event on stderr, the same in every process, and no secret in any."""

from __future__ import annotations

import logging
import re

from shoal import log_context
from shoal.redact import redact

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Formatter(logging.Formatter):
    """Leaves out secrets, and lets no message pass for two lines or steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its own name
        line = super().formatMessage(record).rstrip()
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), line)

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def setup(level: int = logging.INFO) -> None:
    """Log to stderr; the libraries only speak up when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(FORMAT, datefmt="%H:%M:%S"))
    log_context.dress(handler)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in ("shoal", "api", "worker", "autoscaler"):
        logging.getLogger(name).setLevel(level)
