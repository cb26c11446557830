"""The loop: look at the queue and at what there is, decide, launch or cancel consumers.

It launches consumers, cancels PENDING ones and has those beyond the cap drain, and nothing else: it
never resizes a pool (a resize at run time can end busy machines) and never ends a consumer that has
a video. A consumer ends by itself when no job has come for a while. Its memory is in SkyPilot and
in Redis, so that it may be stopped, killed and replaced at any time.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from autoscaler import drain
from autoscaler.history import History
from autoscaler.journal import Journal
from autoscaler.launchers.base import ConsumerState, Fleet, Launcher
from autoscaler.leader import Leader
from autoscaler.rule import Limits, Plan, Seen, decide
from autoscaler.settings import ScaleSettings
from shoal.errors import LauncherUnavailable, RedisUnavailable
from shoal.model.record import Depth, now
from shoal.model.scaling import Action, ScalingStatus
from shoal.queue import scaling
from shoal.queue.connection import redis_errors
from shoal.queue.queue import JobQueue

log = logging.getLogger("autoscaler")

LEADER_TTL_S = 30.0  # how long after a leader was killed another one waits
STATUS_TTL_S = 300.0


class Controller:
    """One autoscaler over one queue."""

    def __init__(
        self,
        queue: JobQueue,
        launcher: Launcher,
        settings: ScaleSettings,
        *,
        clock: Callable[[], float] = now,
    ) -> None:
        self.queue = queue
        self.launcher = launcher
        self.settings = settings
        self.clock = clock
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.leader = Leader(queue.redis, queue.name, LEADER_TTL_S)
        self._leads = False
        self.history = History(settings.start_timeout_s)
        self.journal = Journal(queue.redis, queue.name, STATUS_TTL_S)

    def run(self, stop: threading.Event) -> None:
        """Decide every ``tick_s`` seconds until ``stop`` is set."""
        try:
            while not stop.is_set():
                started = time.monotonic()
                try:
                    self.tick()
                except RedisUnavailable as error:  # neither queue nor lock: nothing is decided
                    log.warning("%s", error)
                stop.wait(max(0.0, self.settings.tick_s - (time.monotonic() - started)))
        finally:
            if self._leads:  # else its workers are another one's
                self.launcher.close()
            self.leader.release()

    def tick(self) -> None:
        """One look, and what follows from it.

        Raises:
            RedisUnavailable
        """
        self._leads = self.leader.hold()
        if not self._leads:
            self.journal.stands_by()
            return
        try:
            fleet = self.launcher.observe()  # which takes its time: the queue is looked at after it
            depth, cap = self._demand()
            self._act(depth, fleet, cap)
        except LauncherUnavailable as error:
            # Whoever has a machine works on; the next look may go better.
            depth, cap = self._demand()
            self._write(depth, None, cap, "away", f"{error} ({error.hint})")

    def _demand(self) -> tuple[Depth, int]:
        """The queue, and the most machines that there may be."""
        with redis_errors():
            depth = self.queue.depth()
            cap = scaling.read_cap(self.queue.redis, self.queue.name)
        return depth, self.settings.cap if cap is None else min(cap, self.settings.cap)

    def _act(self, depth: Depth, fleet: Fleet, cap: int) -> None:
        at = self.clock()
        self.history.look(fleet, at)
        stuck = len(self.history.stuck_starting(at))
        waiting = [c.id for c in fleet.consumers if c.state == ConsumerState.PENDING]
        queued, running = depth.work
        seen = Seen(
            queued=queued,
            running=running,
            machines=fleet.machines - stuck,
            ready=max(0, fleet.ready - stuck),
            pending=len(waiting),
            started=len(fleet.consumers) - len(waiting) - stuck,
            target=fleet.target,
            pooled=fleet.pooled,
            paused=depth.paused,
        )
        plan = decide(seen, self._limits(cap - stuck))
        if at < self.history.paused_until:
            plan = self._paused(plan, seen, at)
        elif plan.pending and (lame := self.history.stuck_pending(at)):
            # They get no machine though one is free: others in their place may.
            waiting = [*(c for c in waiting if c not in lame), *lame]
            plan = _replacing(plan, len(lame))
        if stuck:
            plan = replace(plan, reason=f"{plan.reason}; {stuck} never started and do not count")
        if plan.drain:
            told = self._drain(fleet, plan.drain)
            plan = replace(plan, reason=f"{plan.reason}; {told} consumers end after their video")
        launched, cancelled = self._carry_out(plan, waiting)
        action = cast(Action, plan.action)
        outcome = seen, plan, fleet
        self._write(
            depth, outcome, cap, action, plan.reason, launched=launched, cancelled=cancelled
        )

    def _limits(self, cap: int) -> Limits:
        return Limits(
            cap=max(0, cap),
            jobs_per_worker=self.settings.jobs_per_worker,
            price_per_hour=self.settings.price_per_hour,
            budget_per_hour=self.settings.budget_per_hour,
        )

    def _paused(self, plan: Plan, seen: Seen, at: float) -> Plan:
        """Too much has failed: no money for more of it, until the pause is over."""
        left = self.history.paused_until - at
        return replace(
            plan,
            pending=0,
            launch=0,
            cancel=seen.pending,
            action="paused",
            reason=f"machines or consumers keep failing: no new ones for {left:.0f} s; "
            f"'shoal pool status' tells why; {plan.reason}",
        )

    def _drain(self, fleet: Fleet, surplus: int) -> int:
        """Have ``surplus`` consumers end after their video, idle ones first; how many were told."""
        started = [c for c in fleet.consumers if c.state != ConsumerState.PENDING and c.worker]
        with redis_errors():
            return drain.surplus(self.queue, [c.worker for c in started], surplus)

    def _carry_out(self, plan: Plan, waiting: list[str]) -> tuple[int, int]:
        """Cancel the last that came to wait, launch what is missing; how many of each."""
        launched = cancelled = 0
        if plan.cancel and self.leader.hold():
            cancelled = self.launcher.cancel(waiting[-plan.cancel :])
        while launched < plan.launch and self.leader.hold():
            self.launcher.launch()
            launched += 1
        return launched, cancelled

    def _write(
        self,
        depth: Depth,
        outcome: tuple[Seen, Plan, Fleet] | None,
        cap: int,
        action: Action,
        reason: str,
        *,
        launched: int = 0,
        cancelled: int = 0,
    ) -> None:
        status = ScalingStatus(
            at=self.clock(),
            leader=self.name,
            launcher=self.launcher.name,
            action=action,
            reason=reason,
            queued=depth.queued,
            running=depth.running,
            cap=cap,
        )
        if outcome:
            seen, plan, fleet = outcome
            status = status.model_copy(
                update={
                    "want": plan.want,
                    "machines": fleet.machines,
                    "ready": fleet.ready,
                    "pending": seen.pending + launched - cancelled,
                    "started": seen.started,
                    "price_per_hour": fleet.machines * self.settings.price_per_hour,
                }
            )
        self.journal.write(status, launched=launched, cancelled=cancelled)


def _replacing(plan: Plan, lame: int) -> Plan:
    return replace(
        plan,
        launch=plan.launch + lame,
        cancel=plan.cancel + lame,
        reason=f"{plan.reason}; {lame} have waited beside a free machine",
    )
