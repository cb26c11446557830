"""One controller at a time: a lock in Redis, which lapses when its holder is gone."""

from __future__ import annotations

from redis import Redis
from redis.exceptions import LockError

from shoal.queue import redis_errors
from shoal.scaling import leader_key


class Leader:
    """``hold`` before every look and before every deed."""

    def __init__(self, redis: Redis, namespace: str, ttl_s: float) -> None:
        self._lock = redis.lock(leader_key(namespace), timeout=ttl_s, thread_local=False)

    def hold(self) -> bool:
        """Take the lock or renew it; ``False`` where another controller has it.

        Raises:
            RedisUnavailable
        """
        with redis_errors():
            try:
                return bool(self._lock.reacquire())
            except LockError:  # not ours, or not ours any more
                return bool(self._lock.acquire(blocking=False))

    def release(self) -> None:
        """Let the next one start at once."""
        with redis_errors():
            try:
                self._lock.release()
            except LockError:
                return
