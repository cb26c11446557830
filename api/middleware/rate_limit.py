"""How many requests each token may make in a minute, counted in Redis over all API processes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis
from starlette.concurrency import run_in_threadpool

from shoal.errors import RateLimited
from shoal.model.token import Token

PACKS = 100  # a minute's permits are fetched in so many packs: few requests cost a round trip
PACK_KEPT_S = 10.0


@dataclass
class _Pack:
    """Permits that this process has taken from Redis and not yet given out."""

    left: int
    until: float


class RateLimit:
    """Gives each token ``per_minute`` requests a minute, or any number if that is 0."""

    def __init__(self, connection: Redis, namespace: str, per_minute: int) -> None:
        self._item = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._pack = max(1, per_minute // PACKS)
        self._packs: dict[str, _Pack] = {}
        storage = RedisStorage(
            "redis://", connection.connection_pool, key_prefix=f"{namespace}:rate"
        )
        self._limiter = FixedWindowRateLimiter(storage)

    async def take(self, token: Token) -> None:
        """
        Raises:
            RateLimited
        """
        if self._item is None:
            return
        pack = self._packs.get(token.name)
        if pack and pack.left and time.monotonic() < pack.until:
            pack.left -= 1
            return
        if wait_s := await run_in_threadpool(self._fetch, token.name):
            raise RateLimited(
                f"the token {token.name!r} has made its {self._item.amount} requests of this "
                "minute",
                retry_after_s=wait_s,
            )

    def _fetch(self, name: str) -> int:
        """Fetch a pack and take the first of it; else the seconds until there are new ones."""
        assert self._item
        try:
            if self._limiter.hit(self._item, name, cost=self._pack):
                self._keep(name, self._pack - 1)
                return 0
            reset = self._limiter.get_window_stats(self._item, name).reset_time
        except redis.RedisError:
            # What the request is about will say so. Let some through, and do not ask each time.
            self._keep(name, self._pack)
            return 0
        return max(1, math.ceil(reset - time.time()))

    def _keep(self, name: str, left: int) -> None:
        self._packs[name] = _Pack(left, time.monotonic() + PACK_KEPT_S)
