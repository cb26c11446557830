"""What Redis holds under digests, remembered for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from shoal.errors import RedisUnavailable
from shoal.queue.connection import redis_errors

MISS_S = 1.0
MOST = 10_000  # digests remembered of each kind
THREADS = 2  # strangers who ask for what there is not take no more of them

T = TypeVar("T")


class Lookup(Generic[T]):
    """Asks once for what is asked for often.

    What there is not is remembered apart: a flood of it costs a read each and pushes nothing out.

    Args:
        read: gives the value of a digest, or ``None``; called in a thread.
        fresh_s: how long what another process has removed may still be found.
    """

    def __init__(self, read: Callable[[str], T | None], fresh_s: float) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._threads = CapacityLimiter(THREADS)
        self._found: dict[str, tuple[T, float]] = {}  # with the time until when it is fresh
        self._missed: dict[str, float] = {}

    async def get(self, digest: str) -> T | None:
        """
        Raises:
            RedisUnavailable: it is not known, and whether it should be cannot be told.
        """
        at = time.monotonic()
        known = self._found.get(digest)
        if known and at < known[1]:
            return known[0]
        if at < self._missed.get(digest, 0.0):
            return None
        if known:  # others do with it until the answer is there
            self._found[digest] = (known[0], at + self._fresh_s)
        try:
            return await self.ask(digest)
        except RedisUnavailable:
            if known:  # what was known stays so while Redis is away
                return known[0]
            raise

    async def ask(self, digest: str) -> T | None:
        """As Redis has it now.

        Raises:
            RedisUnavailable
        """
        with redis_errors():
            value = await to_thread.run_sync(self._read, digest, limiter=self._threads)
        if value is None:
            self._found.pop(digest, None)
            _keep(self._missed, digest, time.monotonic() + MISS_S)
        else:
            _keep(self._found, digest, (value, time.monotonic() + self._fresh_s))
        return value

    def forget(self) -> None:
        """Ask again before the next answer: something was made or removed."""
        self._missed.clear()
        self._found = {digest: (value, 0.0) for digest, (value, _) in self._found.items()}


def _keep(kept: dict[str, T], digest: str, value: T) -> None:
    if len(kept) >= MOST:
        kept.clear()
    kept[digest] = value
