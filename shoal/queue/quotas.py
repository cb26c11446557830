"""What a token may have in the queue, and how much it may submit and upload in a day (UTC).

Keys, below the queue's name: ``quota:<kind>:<day>:<token>``, a count that lapses. What waits is
counted by ``shoal.queue.indexes``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from shoal.errors import QuotaExceeded
from shoal.model.token import Token
from shoal.queue.indexes import queued_by
from shoal.queue.stats import DAY_S

# Adds to a count unless that would exceed a limit; gives what it was before.
_ADD = """
local was = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
if was + ARGV[1] <= tonumber(ARGV[2]) then
  redis.call('SET', KEYS[1], math.max(0, was + ARGV[1]), 'EX', ARGV[3])
end
return was
"""


class Quotas:
    """Counts what tokens with limits do."""

    def __init__(
        self, redis: Redis, namespace: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis
        self._namespace = namespace
        self._clock = clock
        self._add = redis.register_script(_ADD)

    def room(self, token: Token) -> int | None:
        """How many more videos the token may queue now; ``None``: any number."""
        limits = token.limits
        rooms = []
        if limits.queued:
            rooms.append(limits.queued - self._queued(token))
        if limits.submissions_per_day:
            found: Any = self._redis.get(self._key("submissions", token))
            rooms.append(limits.submissions_per_day - int(found or 0))
        return max(0, min(rooms)) if rooms else None

    def check_room(self, token: Token, videos: int) -> None:
        """
        Raises:
            QuotaExceeded: the token may not queue that many videos now.
        """
        limits = token.limits
        if limits.queued:
            left = max(0, limits.queued - self._queued(token))
            if videos > left:
                raise _exceeded(token, f"{limits.queued} queued videos", left, videos)
        if limits.submissions_per_day:
            self.submit(token, videos)
            self.submit(token, -videos)

    def submit(self, token: Token, videos: int) -> None:
        """Count submissions; a negative number takes back what was not queued.

        Raises:
            QuotaExceeded
        """
        limit = token.limits.submissions_per_day
        self._count("submissions", token, videos, limit, f"{limit} submissions a day")

    def upload(self, token: Token, size: int) -> None:
        """Count uploaded bytes; a negative number takes back what was not stored.

        Raises:
            QuotaExceeded
        """
        limit = token.limits.upload_bytes_per_day
        self._count("upload_bytes", token, size, limit, f"{limit} uploaded bytes a day")

    def _count(self, kind: str, token: Token, amount: int, limit: int, words: str) -> None:
        if not limit or not amount:
            return
        was = int(self._add(keys=[self._key(kind, token)], args=[amount, limit, 2 * DAY_S]))
        if was + amount > limit and amount > 0:
            raise _exceeded(token, words, max(0, limit - was), amount)

    def _queued(self, token: Token) -> int:
        return int(self._redis.zcard(f"{self._namespace}:{queued_by(token.name)}"))

    def _key(self, kind: str, token: Token) -> str:
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        return f"{self._namespace}:quota:{kind}:{day}:{token.name}"


def _exceeded(token: Token, words: str, left: int, wanted: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"the token {token.name!r} has a limit of {words}: {left} are left, {wanted} were asked for"
    )
