"""A stand-in for SkyPilot's SDK, on a clock of its own: what it has of pools and managed jobs.

It has the functions that the autoscaler calls, with SkyPilot's own parameters (a test beside the
real library compares them), and behaves as the real one was recorded (``tests/skypilot``): a job
that waits for a machine of the pool is PENDING most of the time and STARTING or RECOVERING in
between, a cancelled one is CANCELLING for a while, jobs come newest first, and every call takes
time. The pool counts PENDING jobs every 20 s, adds a machine while there are more than one, holds
at one, and without any for ``downscale_s`` ends the machines that have no job. Consumers take jobs
from a real queue. What Shoal must never ask is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from types import SimpleNamespace
from typing import Any

from shoal.model.record import text
from shoal.model.worker import WorkerInfo
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce, withdraw

STEP_S = 5
DECIDE_S = 20  # the pool's autoscaler
BLINK = 3  # every so many steps a waiting job is not PENDING
ALIVE = {"PENDING", "PROVISIONING", "STARTING", "READY", "NOT_READY"}
FINISHED = {"SUCCEEDED", "CANCELLED", "FAILED"}


class ClusterNotUpError(RuntimeError):
    """Of SkyPilot: there is no controller of jobs yet."""


@dataclass
class Machine:
    replica_id: int
    ready_at: float
    status: str = "PROVISIONING"
    job: Job | None = None
    gone_at: float = 0.0  # SHUTTING_DOWN until then
    last_job: int | None = None  # its row names the job even after the machine was lost


@dataclass
class Job:
    """A consumer."""

    job_id: int
    job_name: str
    pool: str | None
    status: str = "PENDING"
    failure_reason: str | None = None
    lease: Lease | None = None
    until: float = 0.0  # the end of its start, of its video, or of its being cancelled
    idle_since: float = 0.0
    lost_machines: int = 0
    waits: bool = True  # for a machine

    @property
    def worker(self) -> WorkerInfo:
        name = f"sky{self.job_id}-machine-1-0a1b2c3d"
        state = "busy" if self.lease else "idle"
        return WorkerInfo(name=name, host="machine", pid=1, started_at=0, state=state)


@dataclass
class FakeSky:
    """``sky``, as far as the autoscaler uses it."""

    queue: JobQueue
    boot_s: float = 240
    video_s: float = 120
    start_s: float = 10  # from a free machine to a worker that takes videos
    call_s: float = 0  # each call takes so long
    cancel_s: float = 10
    shutdown_s: float = 60
    idle_exit_s: float = 300
    downscale_s: float = 300  # of pool.yaml
    max_workers: int = 6
    now: float = 1_000_000.0
    exists: bool = True  # the pool
    away: bool = False  # the API server does not answer
    boots_fail: bool = False  # machines fail in their setup
    starts: bool = True  # consumers come from STARTING to RUNNING
    dispatches: bool = True  # waiting consumers get free machines
    cleanups_fail: bool = False  # machines that are ended stay as FAILED_CLEANUP
    machines: list[Machine] = field(default_factory=list)
    all_jobs: list[Job] = field(default_factory=list)
    target: int = 0
    machine_s: float = 0.0
    made: int = 0
    ended_in_need: list[str] = field(default_factory=list)

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
        self._steps = 0
        self._looks_at_zero = 0
        self._decide_at = self.now

    # --- the SDK ---------------------------------------------------------------------------------

    def get(self, request: Callable[[], Any]) -> Any:
        """The server does what a request asks for, and the answer is old when it arrives."""
        if self.away:
            raise ConnectionError("Could not connect to SkyPilot API server")
        answer = request()
        until = self.now + self.call_s
        while self.now < until:
            self.step()
        return answer

    def _pool_status(self, pool_names: list[str]) -> Callable[[], Any]:
        def status() -> list[dict[str, Any]]:
            if not self.exists:
                return []
            rows = [
                {
                    "replica_id": m.replica_id,
                    "status": m.status,
                    "used_by": [m.last_job] if m.last_job in self._unfinished() else [],
                }
                for m in self.machines
            ]
            return [{"replica_info": rows, "target_num_replicas": self.target}]

        return status

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
        ended = FINISHED if skip_finished else set()

        def found() -> Any:
            jobs = [
                replace(job)
                for job in reversed(self.all_jobs)
                if job.status not in ended and (statuses is None or job.status in statuses)
            ]
            return jobs, len(jobs), {}, len(jobs)

        return found

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
            newest = max(job.job_id for job in self.all_jobs if job.waits)
            assert newest in job_ids or len(job_ids) > 1, "an older consumer was cancelled first"
            for job in self.all_jobs:
                if job.job_id in job_ids:
                    assert job.waits, "a consumer with a machine was cancelled"
                    job.status, job.until, job.waits = "CANCELLING", self.now + self.cancel_s, False

        return cancel

    def _pool_apply(self, *args: Any, **kwargs: Any) -> Callable[[], Any]:
        raise AssertionError("the pool was resized at run time")

    # --- the world -------------------------------------------------------------------------------

    @property
    def alive(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.status in ALIVE]

    @property
    def waiting(self) -> list[Job]:
        return [job for job in self.all_jobs if job.waits]

    def _unfinished(self) -> set[int]:
        return {job.job_id for job in self.all_jobs if job.status not in FINISHED}

    def step(self) -> None:
        """Five seconds go by."""
        self.now += STEP_S
        self._steps += 1
        self.machine_s += STEP_S * len(self.alive)
        self._age()
        if any(job.pool is None for job in self.all_jobs):
            self._bring_machines()
        elif self.now >= self._decide_at:
            self._scale()
            self._decide_at = self.now + DECIDE_S
        self._dispatch()
        for machine in self.alive:
            if machine.job:
                self._work(machine, machine.job)

    def _age(self) -> None:
        for machine in [*self.machines]:
            left = machine.ready_at - self.now
            if machine.status in ("PROVISIONING", "STARTING"):
                machine.status = "PROVISIONING" if left > self.boot_s / 2 else "STARTING"
                if left <= 0:
                    machine.status = "FAILED" if self.boots_fail else "READY"
            if machine.status == "SHUTTING_DOWN" and machine.gone_at <= self.now:
                if self.cleanups_fail:
                    machine.status = "FAILED_CLEANUP"
                else:
                    self.machines.remove(machine)
        for job in self.all_jobs:
            if job.status == "CANCELLING" and job.until <= self.now:
                job.status = "CANCELLED"
            elif job.waits and job.pool:
                looks = (self._steps + job.job_id) % BLINK == 0
                job.status = (
                    ("RECOVERING" if job.lost_machines else "STARTING") if looks else "PENDING"
                )

    def preempt(self, machine: Machine) -> None:
        """It is taken away. Its job waits again, with the same id; its row lingers."""
        machine.status = "PREEMPTED"
        if job := machine.job:
            machine.job = None
            job.status, job.waits = "RECOVERING", True
            job.lost_machines += 1
            withdraw(self.queue.redis, self.queue.name, job.worker.name)
            if job.lease:
                job.lease.give_back()
                job.lease = None

    def _scale(self) -> None:
        pending = sum(job.status == "PENDING" for job in self.all_jobs)
        if pending == 0:
            self._looks_at_zero += 1
            if self._looks_at_zero * DECIDE_S >= self.downscale_s:
                self.target = 0
        else:
            self._looks_at_zero = 0
            if pending > 1 or self.target == 0:
                self.target = min(self.target + 1, self.max_workers)
        for _ in range(self.target - len(self.alive)):
            self.made += 1
            self.machines.append(Machine(self.made, self.now + self.boot_s))
        surplus = max(0, len(self.alive) - self.target)
        idle = [machine for machine in self.alive if machine.job is None]
        for machine in idle[:surplus]:
            self._end(machine)

    def _end(self, machine: Machine) -> None:
        others = sum(m is not machine and m.job is None for m in self.alive)
        depth = self.queue.depth()
        if depth.startable > others:
            self.ended_in_need.append(
                f"{machine.status} machine {machine.replica_id}, {depth.startable} queued"
            )
        machine.status, machine.gone_at = "SHUTTING_DOWN", self.now + self.shutdown_s

    def _bring_machines(self) -> None:
        """Without a pool: each job gets a machine of its own."""
        for job in self.waiting:
            job.status, job.waits = "STARTING", False
            self.made += 1
            machine = Machine(self.made, self.now + self.boot_s, job=job, last_job=job.job_id)
            self.machines.append(machine)

    def _dispatch(self) -> None:
        for machine in self.alive:
            if machine.status == "READY" and machine.job is None and self.waiting:
                if not self.dispatches:
                    return
                job = self.waiting[self._steps % len(self.waiting)]  # whoever asks first
                machine.job, machine.last_job = job, job.job_id
                job.status, job.waits, job.until = "STARTING", False, self.now + self.start_s

    def _work(self, machine: Machine, job: Job) -> None:
        if machine.status != "READY" or not self.starts:
            return
        if job.status == "STARTING":
            if job.until > self.now:
                return
            job.status, job.idle_since = "RUNNING", self.now
        if job.lease and job.until <= self.now:
            job.lease.succeed({}, {})
            job.lease, job.idle_since = None, self.now
        drains = announce(self.queue.redis, self.queue.name, job.worker, 300)
        if job.lease or (not drains and self._take(job)):
            return
        if drains or self.now - job.idle_since >= self.idle_exit_s:
            withdraw(self.queue.redis, self.queue.name, job.worker.name)
            job.status, machine.job = "SUCCEEDED", None
            if job.pool is None:
                self.machines.remove(machine)

    def _take(self, job: Job) -> bool:
        if self.queue.paused:
            return False
        popped = self.queue.line.take()
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
