"""``python -m worker.health``: a container's health check.

Ends with 0 while a worker of this host beats, and with 1 when none does. A Redis that does not
answer says nothing about the worker, which waits for it: that is no reason to restart it.
"""

from __future__ import annotations

import socket
import sys

from shoal.errors import RedisUnavailable
from shoal.queue.connection import connect, redis_errors
from shoal.queue.queue import open_queue
from shoal.queue.workers import list_workers
from shoal.settings import Settings, get_settings


def beating(settings: Settings, host: str) -> list[str]:
    """Names of the workers of ``host`` that have renewed theirs within ``SHOAL_LEASE_S``.

    Raises:
        RedisUnavailable
    """
    queue = open_queue(settings, connect(settings))
    with redis_errors():
        workers = list_workers(queue.redis, queue.name)
    return [worker.name for worker in workers if worker.host == host]


def main() -> int:
    host = socket.gethostname()
    try:
        names = beating(get_settings(), host)
    except RedisUnavailable as error:
        print(f"unknown: {error}")  # noqa: T201 - what 'docker inspect' shows
        return 0
    print(", ".join(names) or f"no heartbeat of a worker on {host}")  # noqa: T201
    return 0 if names else 1


if __name__ == "__main__":
    sys.exit(main())
