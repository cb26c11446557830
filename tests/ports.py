"""Ports for the servers that tests start."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle

# Below the ports that Linux and macOS give to outgoing connections: between the choice of a port
# and its use, and while a server is away for a moment, no connection takes it.
FIRST, END = 12_000, 30_000


def _candidates() -> Iterator[int]:
    """Every n-th port, where n processes of pytest-xdist run, from a random one on."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(FIRST + number, END, processes)
    start = random.randrange(len(ports))  # another session on this machine starts elsewhere
    return cycle([*ports[start:], *ports[:start]])


_PORTS = _candidates()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that no other test of this run is given."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")
