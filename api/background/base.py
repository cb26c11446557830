"""The base class of the API's background threads."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from shoal.errors import RedisUnavailable
from shoal.queue.connection import redis_errors

STOP_WAIT_S = 5.0
MAX_AWAY_S = 10.0  # between two attempts to reach Redis

log = logging.getLogger(__name__)


class Background(threading.Thread, ABC):
    """Runs rounds of work until it is stopped.

    During an outage of Redis it retries with increasing delays, and logs it once. An exception in
    one round does not stop the next one.
    """

    def __init__(self, name: str, pause_s: float) -> None:
        """
        Args:
            pause_s: between two rounds.
        """
        super().__init__(name=name, daemon=True)
        self.pause_s = pause_s
        self.stop_asked = threading.Event()
        self._away_s = 0.0  # the last delay during an outage of Redis; 0 = reachable

    @abstractmethod
    def round(self) -> bool:
        """Run one round of work; returns whether the next one should start immediately.

        Raises:
            RedisUnavailable, redis.RedisError: Redis cannot be reached.
        """

    def close(self) -> None:
        """Called in the thread after the last round."""

    def run(self) -> None:
        wait_s = self.pause_s
        while not self.stop_asked.wait(wait_s):
            wait_s = self._round()
        self.close()

    def stop(self) -> None:
        """Stop after the current round; waits a few seconds for it."""
        self.stop_asked.set()
        if self.is_alive():
            self.join(STOP_WAIT_S)

    def _round(self) -> float:
        """Run one round; returns the seconds until the next."""
        try:
            with redis_errors():
                more = self.round()
        except RedisUnavailable as error:
            if not self._away_s:
                log.warning("%s: waiting for Redis: %s", self.name, error)
            self._away_s = min(max(2 * self._away_s, 0.5), MAX_AWAY_S)
            return self._away_s
        except Exception:
            log.exception("%s failed; next run in %.1f s", self.name, self.pause_s)
            return self.pause_s
        if self._away_s:
            log.info("%s: Redis is available again", self.name)
            self._away_s = 0.0
        return 0.0 if more else self.pause_s
