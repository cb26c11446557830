"""One line per event on stderr, the same in every process."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def setup(level: int = logging.INFO) -> None:
    """Log to stderr; the libraries only speak up when something is wrong."""
    logging.basicConfig(level=logging.WARNING, format=FORMAT, datefmt="%H:%M:%S")
    for name in ("shoal", "api", "worker", "autoscaler"):
        logging.getLogger(name).setLevel(level)
