"""Makes the data folder, once."""

from __future__ import annotations

import logging

from shoal.queue.queue import JobQueue
from shoal.settings import Settings

log = logging.getLogger(__name__)


def make_data_dir(settings: Settings, queue: JobQueue) -> None:
    """Make the data folder for a new installation.

    One that Redis knows to have been there, or that jobs may have been read from, was moved, or its
    disk is not mounted. It is not made anew: an empty one would make all videos look deleted.

    Raises:
        redis.RedisError: it may be called again.
    """
    path, known = settings.data_dir, f"{queue.name}:folders"
    if not path.is_dir():
        if queue.redis.sismember(known, str(path)) or any(queue.records.counts().values()):
            log.error("the data folder %s does not exist: it was moved, or is not mounted", path)
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("cannot make the data folder %s: %s", path, error.strerror)
            return
    queue.redis.sadd(known, str(path))  # last: if the answer is lost, it is there all the same
