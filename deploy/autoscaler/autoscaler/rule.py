"""How many consumers should wait for a machine: the decision, and nothing else.

A *machine* is a worker of a SkyPilot pool (or, without a pool, of a job of its own), a *consumer*
the job that runs ``shoal worker`` on one. SkyPilot's pool autoscaler sees nothing of our queue:
it looks at the number of consumers that are PENDING. Above its threshold of 1 it adds a machine
every 20 s, at 1 it holds, and without any for a while it lets go of all machines that have no
consumer. So the number of PENDING consumers is the one lever there is: 2 to grow, 1 to hold, 0 to
shrink. It is slow: a look and a launch take a minute and more where SkyPilot is busy. Hence the
long ``downscale_delay_seconds`` of ``pool.yaml``, and, while machines boot, one PENDING consumer
more than the ready machines take.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

GROW, HOLD, SHRINK = 2, 1, 0  # PENDING consumers, for a pool with queue_length_threshold 1


@dataclass(frozen=True)
class Seen:
    """What there is, at one moment."""

    queued: int  # jobs that wait for a worker, not for others of their source
    running: int  # jobs on a worker
    machines: int  # that exist or are being made; failed ones are not among them
    ready: int  # of those, the ones that could run a consumer now
    pending: int  # consumers without a machine
    started: int  # consumers on a machine
    target: int | None = None  # machines that the pool's autoscaler aims at, where it says so
    pooled: bool = True  # whether machines come from a pool, or each with its consumer
    paused: bool = False  # no worker takes a job


@dataclass(frozen=True)
class Limits:
    """How far it may go."""

    cap: int  # machines, at most
    jobs_per_worker: float = 1.0  # jobs, queued or running, that justify one machine
    price_per_hour: float = 0.0  # of one machine; 0: not known
    budget_per_hour: float = 0.0  # no growth beyond it; 0: none

    @property
    def machines(self) -> tuple[int, str]:
        """The most machines there may be, and what sets that limit."""
        if self.budget_per_hour and self.price_per_hour:
            affordable = int(self.budget_per_hour / self.price_per_hour + 1e-9)
            if affordable < self.cap:
                return affordable, f"budget of {self.budget_per_hour:g} per hour"
        return self.cap, f"cap of {self.cap}"


@dataclass(frozen=True)
class Plan:
    """What to do about it: launch consumers, cancel PENDING ones, have others end."""

    want: int  # machines that the work justifies, within the limits
    pending: int  # consumers that should be PENDING
    launch: int
    cancel: int
    drain: int  # consumers beyond the cap, which end after the video that they have
    action: str  # grow, hold, start or shrink; idle: there is nothing
    reason: str


def decide(seen: Seen, limits: Limits) -> Plan:
    """The number of consumers that should be PENDING now, and why."""
    work = seen.running + (0 if seen.paused else seen.queued)
    needed = ceil(work / limits.jobs_per_worker)
    most, limit = limits.machines
    want = min(needed, most)
    paused = " in a paused queue" if seen.paused else ""
    why = f"{seen.queued} queued and {seen.running} running jobs{paused} want {needed} machines"
    if needed > most:
        why += f", the {limit} allows {most}"
    action, pending = (_of_pool if seen.pooled else _without_pool)(seen, want)
    return Plan(
        want=want,
        pending=pending,
        launch=max(0, pending - seen.pending),
        cancel=max(0, seen.pending - pending),
        drain=max(0, seen.started - limits.cap),
        action=action,
        reason=f"{why}; there are {seen.machines}, {seen.ready} of them ready, "
        f"with {seen.started} consumers",
    )


def _of_pool(seen: Seen, want: int) -> tuple[str, int]:
    # Ready machines that lack a consumer get one each, whatever the pool makes of it.
    unmanned = max(0, min(want, seen.ready) - seen.started)
    if want > seen.machines:
        # From a target of none, one PENDING consumer makes one machine, and no second one.
        return "grow", HOLD if want == 1 and not seen.target else GROW + unmanned
    if seen.machines > seen.ready and want > seen.started:
        return "hold", HOLD + unmanned  # without it the pool would end machines that boot
    if unmanned:
        return "start", unmanned
    if 0 < seen.started <= want and seen.machines <= want:
        return _poised(seen)
    return ("shrink" if seen.machines else "idle"), SHRINK


def _poised(seen: Seen) -> tuple[str, int]:
    """All consumers have work: keep the pool's target where the machines are.

    Whenever nothing is PENDING for a while the pool's target falls to 0, and from there it climbs
    by 1 in 20 s: past twenty busy machines, the next one would come seven minutes late. As long as
    the target is below the number of machines, it climbs without making any.
    """
    if seen.target is not None and seen.target < seen.machines - 1:
        return "hold", GROW
    return "hold", HOLD


def _without_pool(seen: Seen, want: int) -> tuple[str, int]:
    """Each consumer brings its own machine: there are as many as wanted, on the way or at work."""
    pending = max(0, want - seen.started)
    if pending > seen.pending:
        return "grow", pending
    if pending or (0 < seen.started == want and not seen.pending):
        return "hold", pending
    return ("shrink" if seen.started or seen.pending else "idle"), SHRINK
