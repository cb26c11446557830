"""One controller at a time: a lock in Redis, which lapses when its holder is gone."""

from __future__ import annotations

import logging
import threading

from redis import Redis
from redis.exceptions import LockError

from shoal.errors import RedisUnavailable
from shoal.queue.connection import redis_errors
from shoal.queue.scaling import leader_key

log = logging.getLogger("autoscaler")


class Leader:
    """``hold`` before every look and before every deed.

    A thread renews the lock in between, so that it may lapse soon after its holder was killed,
    however long a launcher takes.
    """

    def __init__(self, redis: Redis, namespace: str, ttl_s: float) -> None:
        self._lock = redis.lock(leader_key(namespace), timeout=ttl_s, thread_local=False)
        self._ttl_s = ttl_s
        self._using = threading.Lock()
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None

    def hold(self) -> bool:
        """Take the lock or renew it; ``False`` where another controller has it.

        Raises:
            RedisUnavailable
        """
        with self._using, redis_errors():
            held = self._renew() or bool(self._lock.acquire(blocking=False))
        if held and self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="leader", daemon=True)
            self._keeper.start()
        return held

    def release(self) -> None:
        """Let the next one start at once."""
        self._ended.set()
        with self._using, redis_errors():
            try:
                self._lock.release()
            except LockError:
                return

    def _renew(self) -> bool:
        try:
            return bool(self._lock.reacquire())
        except LockError:  # not ours, or not ours any more
            return False

    def _keep(self) -> None:
        while not self._ended.wait(self._ttl_s / 3):
            try:
                with self._using, redis_errors():
                    if not self._ended.is_set():
                        self._renew()
            except RedisUnavailable as error:
                log.warning("the leader's lock is not renewed: %s", error)
