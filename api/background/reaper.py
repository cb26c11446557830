"""Requeues the jobs of lost workers, and runs maintenance of Redis."""

from __future__ import annotations

from api.background.base import Background
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper


class ReaperThread(Background):
    """Sweeps every quarter of a lease; each API has one, and any number may run at once."""

    def __init__(self, queue: JobQueue, maintenance: Maintenance) -> None:
        super().__init__("reaper", queue.lease_s / 4)
        self._reaper = Reaper(queue)
        self._maintenance = maintenance

    def round(self) -> bool:
        self._reaper.sweep()
        self._maintenance.run()
        return False
