"""A stand-in for SkyPilot's SDK, on a clock of its own: what it has of pools and managed jobs.

It has the functions that the autoscaler calls, with SkyPilot's own parameters (a test beside the
real library compares them), and behaves as a pool was seen to: it counts PENDING jobs, adds a
machine every 20 s while there are more than one, holds at one, and without any ends the machines
that have no job. Consumers take jobs from a real queue. What Shoal must never ask is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

from shoal.lease import Lease
from shoal.queue import JobQueue
from shoal.records import text

STEP_S = 5
DECIDE_S = 20  # the pool's autoscaler
DOWNSCALE_S = 60
ENDED = {"FAILED", "PREEMPTED"}


class ClusterNotUpError(RuntimeError):
    """Of SkyPilot: there is no controller of jobs yet."""


@dataclass
class Machine:
    replica_id: int
    ready_at: float
    status: str = "PROVISIONING"
    job: Job | None = None


@dataclass
class Job:
    """A consumer."""

    job_id: int
    job_name: str
    pool: str | None
    status: str = "PENDING"
    lease: Lease | None = None
    until: float = 0.0  # the end of its video
    idle_since: float = 0.0


@dataclass
class FakeSky:
    """``sky``, as far as the autoscaler uses it."""

    queue: JobQueue
    boot_s: float = 240
    video_s: float = 120
    idle_exit_s: float = 300
    max_workers: int = 6
    now: float = 1_000_000.0
    away: bool = False  # the API server does not answer
    boots_fail: bool = False  # machines fail in their setup
    starts: bool = True  # consumers come from STARTING to RUNNING
    dispatches: bool = True  # PENDING consumers get free machines
    machines: list[Machine] = field(default_factory=list)
    all_jobs: list[Job] = field(default_factory=list)
    target: int = 0
    machine_s: float = 0.0

    def __post_init__(self) -> None:
        self.jobs = SimpleNamespace(
            pool_status=self._pool_status,
            queue_v2=self._queue_v2,
            launch=self._launch,
            cancel=self._cancel,
            pool_apply=self._pool_apply,
        )
        self.Task = SimpleNamespace(from_yaml_config=_from_yaml_config)
        self._ids = count(1)
        self._zero_since: float | None = None
        self._decide_at = self.now

    # --- the SDK ---------------------------------------------------------------------------------

    def get(self, request: Callable[[], Any]) -> Any:
        """The server does what a request asks for when it gets to it."""
        if self.away:
            raise ConnectionError("Could not connect to SkyPilot API server")
        return request()

    def _pool_status(self, pool_names: list[str]) -> Callable[[], Any]:
        rows = [{"replica_id": m.replica_id, "status": m.status} for m in self.machines]
        return lambda: [{"replica_info": rows, "target_num_replicas": self.target}]

    def _queue_v2(
        self,
        refresh: bool,
        skip_finished: bool = False,
        all_users: bool = False,
        fields: Sequence[str] | None = None,
        statuses: list[str] | None = None,
        submitted_after: float | None = None,
        name_match: str | None = None,
    ) -> Callable[[], Any]:
        if not self.all_jobs:
            return _raise_cluster_not_up
        ended = {"SUCCEEDED", "CANCELLED", "FAILED"} if skip_finished else set()
        found = [
            job
            for job in self.all_jobs
            if job.status not in ended and (statuses is None or job.status in statuses)
        ]
        return lambda: (found, len(found), {}, len(found))

    def _launch(
        self,
        task: Any,
        name: str | None = None,
        pool: str | None = None,
        num_jobs: int | None = None,
    ) -> Callable[[], Any]:
        def launch() -> None:
            assert num_jobs == (1 if pool else None)
            self.all_jobs.append(Job(next(self._ids), str(name), pool))

        return launch

    def _cancel(self, job_ids: list[int]) -> Callable[[], Any]:
        def cancel() -> None:
            for job in self.all_jobs:
                if job.job_id in job_ids:
                    assert job.status == "PENDING", "a consumer with a machine was cancelled"
                    job.status = "CANCELLED"

        return cancel

    def _pool_apply(self, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        raise AssertionError("the pool was resized at run time")

    # --- the world -------------------------------------------------------------------------------

    @property
    def alive(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.status not in ENDED]

    @property
    def pending(self) -> list[Job]:
        return [job for job in self.all_jobs if job.status == "PENDING"]

    def step(self) -> None:
        """Five seconds go by."""
        self.now += STEP_S
        self.machine_s += STEP_S * len(self.alive)
        for machine in self.alive:
            if machine.status == "PROVISIONING" and machine.ready_at <= self.now:
                machine.status = "FAILED" if self.boots_fail else "READY"
        if any(job.pool is None for job in self.all_jobs):
            self._bring_machines()
        elif self.now >= self._decide_at:
            self._scale()
            self._decide_at = self.now + DECIDE_S
        self._dispatch()
        for machine in self.alive:
            if machine.job:
                self._work(machine, machine.job)

    def preempt(self, machine: Machine) -> None:
        """It is taken away. Its job is PENDING again, with the same id; its row lingers."""
        machine.status = "PREEMPTED"
        if job := machine.job:
            machine.job = None
            job.status = "PENDING"
            if job.lease:
                job.lease.give_back()
                job.lease = None

    def _scale(self) -> None:
        waiting = len(self.pending)
        if waiting == 0:
            self._zero_since = self._zero_since or self.now
            if self.now - self._zero_since >= DOWNSCALE_S:
                self.target = 0
        else:
            self._zero_since = None
            if waiting > 1 or self.target == 0:
                self.target = min(self.target + 1, self.max_workers)
        for _ in range(self.target - len(self.alive)):
            number = len(self.machines) + 1
            self.machines.append(Machine(number, self.now + self.boot_s))
        surplus = max(0, len(self.alive) - self.target)
        idle = [machine for machine in self.alive if machine.job is None]
        for machine in idle[:surplus]:
            self.machines.remove(machine)

    def _bring_machines(self) -> None:
        """Without a pool: each job gets a machine of its own."""
        for job in self.pending:
            job.status = "STARTING"
            machine = Machine(len(self.machines) + 1, self.now + self.boot_s, job=job)
            self.machines.append(machine)

    def _dispatch(self) -> None:
        for machine in self.alive:
            if machine.status == "READY" and machine.job is None and self.pending:
                if not self.dispatches:
                    return
                machine.job = self.pending[0]
                machine.job.status = "STARTING"

    def _work(self, machine: Machine, job: Job) -> None:
        if machine.status != "READY" or not self.starts:
            return
        if job.status == "STARTING":
            job.status, job.idle_since = "RUNNING", self.now
        if job.lease and job.until <= self.now:
            job.lease.succeed({}, {})
            job.lease, job.idle_since = None, self.now
        if job.lease or self._take(job) or self.now - job.idle_since < self.idle_exit_s:
            return
        job.status, machine.job = "SUCCEEDED", None
        if job.pool is None:
            self.machines.remove(machine)

    def _take(self, job: Job) -> bool:
        rq = self.queue.rq
        popped = self.queue.redis.lmove(rq.key, rq.intermediate_queue_key, "LEFT", "RIGHT")
        if popped is None:
            return False
        job.lease = Lease.take(self.queue, text(popped), f"consumer-{job.job_id}")
        job.until = self.now + self.video_s
        return True


def _from_yaml_config(
    config: dict[str, Any], secrets_overrides: list[tuple[str, str]] | None = None
) -> Any:
    """Takes apart what it is given, as SkyPilot's does."""
    config.clear()
    return SimpleNamespace(validate=lambda: None)


def _raise_cluster_not_up() -> Any:
    raise ClusterNotUpError("the jobs controller is not up")
