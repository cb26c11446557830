"""The thread that brings the jobs of vanished workers back, and does the upkeep."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shoal.errors import RedisUnavailable
from shoal.lease import Reaper
from shoal.queue import JobQueue, redis_errors

STOP_WAIT_S = 2.0

log = logging.getLogger(__name__)


class ReaperThread(threading.Thread):
    """Sweeps every quarter of a lease. Redis being away is logged once, and waited out."""

    def __init__(self, queue: JobQueue, upkeep: Callable[[], object] | None = None) -> None:
        """``upkeep`` is called after each sweep."""
        super().__init__(name="reaper", daemon=True)
        self._reaper = Reaper(queue)
        self._upkeep = upkeep
        self._pause_s = queue.lease_s / 4
        self._stop_asked = threading.Event()
        self._in_order = True

    def run(self) -> None:
        while not self._stop_asked.wait(self._pause_s):
            self._sweep()

    def stop(self) -> None:
        """End it after the sweep it is in, if that does not take long."""
        self._stop_asked.set()
        self.join(STOP_WAIT_S)

    def _sweep(self) -> None:
        try:
            with redis_errors():
                self._reaper.sweep()
                if self._upkeep:
                    self._upkeep()
        except RedisUnavailable as error:
            if self._in_order:
                log.warning("%s: abandoned jobs wait until it is back", error)
            self._in_order = False
        except Exception:
            # A fault with one job must not leave all others unwatched.
            log.exception("the sweep failed, the next one is due in %.1f s", self._pause_s)
        else:
            if not self._in_order:
                log.info("Redis is back")
            self._in_order = True
