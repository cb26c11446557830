"""What SkyPilot has of jobs and machines, second by second: read from its databases, which costs it
nothing, and written down so that the controller can be replayed against it.
"""

from __future__ import annotations

import json
import math
import pickle
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from shoal.model.job import State
from shoal.queue.queue import JobQueue

ALIVE = {"PENDING", "PROVISIONING", "STARTING", "READY", "NOT_READY"}
JOBS = """
  select s.spot_job_id, s.status, i.current_cluster_name from spot s
  join job_info i on i.spot_job_id = s.spot_job_id where s.end_at is null order by 1
"""


@dataclass
class Moment:
    """One second: ``t`` since the start, jobs as ``[id, status, machine]``, machines as
    ``[id, status]``."""

    t: float
    queued: int
    running: int
    jobs: list[tuple[int, str, int | None]] = field(default_factory=list)
    machines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def alive(self) -> set[int]:
        return {number for number, status in self.machines if status in ALIVE}

    @property
    def taken(self) -> set[int]:
        return {machine for _, _, machine in self.jobs if machine is not None} & self.alive


class Session:
    """Watches in a thread of its own."""

    def __init__(self, home: Path, queue: JobQueue) -> None:
        self._home = home
        self._queue = queue
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.moments = [Moment(0, 0, 0)]
        self.lost: set[int] = set()  # machines that the scenario ended

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def now(self) -> float:
        return time.monotonic() - self._started

    @property
    def last(self) -> Moment:
        return self.moments[-1]

    @property
    def pool_exists(self) -> bool:
        return bool(self._ask("serve/services.db", "select 1 from services"))

    @property
    def consumers(self) -> int:
        return len(self.last.jobs)

    @property
    def machines(self) -> int:
        return len(self.last.alive)

    @property
    def first_boot_s(self) -> float:
        """From the first machine that was asked for to the first that was ready."""
        first = next((m.t for m in self.moments if m.machines), math.nan)
        ready = (m.t for m in self.moments if any(status == "READY" for _, status in m.machines))
        return next(ready, math.nan) - first

    def busy_machine(self) -> int:
        """One with a consumer that runs; it counts as lost from now on."""
        running = [machine for _, status, machine in self.last.jobs if status == "RUNNING"]
        number = min(machine for machine in running if machine is not None)
        self.lost.add(number)
        return number

    def ended_in_use(self) -> list[str]:
        """The machines that the pool ended though a consumer had them, or though more videos were
        queued than the other machines without a video could take."""
        found = []
        for before, after in pairwise(self.moments):
            for number in before.alive - after.alive - self.lost:
                wanted = before.queued > len(after.alive - after.taken)
                if number in before.taken or wanted:
                    why = "had a consumer" if number in before.taken else "had work waiting"
                    found.append(f"{after.t:.0f} s: machine {number} {why}")
        return found

    def write(self, path: Path) -> None:
        """Only the moments at which something changed."""
        kept, last = [], None
        for moment in self.moments:
            row = vars(moment) | {"t": 0}
            if row != last:
                kept.append(vars(moment))
            last = row
        path.write_text("[\n" + ",\n".join(json.dumps(row) for row in kept) + "\n]\n")

    def _watch(self) -> None:
        while not self._stop.wait(1):
            try:
                self.moments.append(self._look())
            except sqlite3.OperationalError:  # locked, or not there yet
                continue

    def _look(self) -> Moment:
        depth = self._queue.depth()
        jobs = [
            (int(job), status, _number(name))
            for job, status, name in self._ask("spot_jobs.db", JOBS)
        ]
        machines = [
            (int(number), str(pickle.loads(blob).status.value))
            for number, blob in self._ask(
                "serve/services.db", "select replica_id, replica_info from replicas order by 1"
            )
        ]
        return Moment(round(self.now, 1), depth.queued, depth.running, jobs, machines)

    def _ask(self, file: str, query: str) -> list[Any]:
        try:
            database = sqlite3.connect(f"file:{self._home / file}?mode=ro", uri=True, timeout=5)
        except sqlite3.OperationalError:
            return []
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            database.close()


def _number(cluster: str | None) -> int | None:
    return int(cluster.rpartition("-")[2]) if cluster else None


def running(queue: JobQueue) -> list[str]:
    """The IDs of the videos that are with a worker."""
    return [r.id for r in queue.records.page()[0] if r.state == State.RUNNING]
