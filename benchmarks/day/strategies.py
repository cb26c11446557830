"""Who launches consumers: nobody after the first hour, SkyPilot's users, or our controller."""

from __future__ import annotations

from autoscaler.rule import Limits, Plan, Seen, decide
from benchmarks.day.load import Video
from benchmarks.day.world import Consumer, World

FOREVER = float("inf")
REACT_S = 25  # of the controller: two state calls of SkyPilot and a launch


class FixedPool:
    """``workers: N``, each with a consumer that never ends."""

    idle_exit_s = FOREVER

    def __init__(self, workers: int) -> None:
        self.pool = {"workers": workers}
        self._to_launch = workers

    def on_video(self, world: World, video: Video) -> None:
        world.queue.append(video)

    def tick(self, world: World) -> None:
        world.pending += [Consumer(world.now) for _ in range(self._to_launch)]
        self._to_launch = 0


class SkyPilotsOwn:
    """A job of the pool for each video, and the pool's autoscaler: each job loads the model."""

    idle_exit_s = FOREVER

    def __init__(self, cap: int, **delays: int) -> None:
        self.pool = {"min_workers": 0, "max_workers": cap, **delays}

    def on_video(self, world: World, video: Video) -> None:
        world.pending.append(Consumer(world.now, own=video))

    def tick(self, world: World) -> None:
        """Nobody looks after it."""


class Controlled:
    """Shoal's controller, with the decision code that runs in production.

    What it decides takes effect ``react_s`` after what it saw: SkyPilot's calls take their time.
    """

    TICK_S = 20

    def __init__(
        self, limits: Limits, idle_exit_s: float, pool: dict[str, int], react_s: int = REACT_S
    ) -> None:
        self.pool = pool
        self.limits = limits
        self.idle_exit_s = idle_exit_s
        self.react_s = react_s
        self._plan: Plan | None = None
        self._due = 0.0

    def on_video(self, world: World, video: Video) -> None:
        world.queue.append(video)

    def tick(self, world: World) -> None:
        if world.now < self._due:
            return
        if self._plan:
            self._carry_out(self._plan, world)
            self._plan, self._due = None, world.now + max(0, self.TICK_S - self.react_s)
        else:
            self._plan, self._due = self._decide(world), world.now + self.react_s

    def _decide(self, world: World) -> Plan:
        return decide(
            Seen(
                queued=len(world.queue),
                running=world.running,
                machines=len(world.machines),
                ready=sum(machine.ready_at <= world.now for machine in world.machines),
                pending=len(world.pending),
                started=world.started,
                target=world.autoscaler.target_num_replicas,
            ),
            self.limits,
        )

    def _carry_out(self, plan: Plan, world: World) -> None:
        world.pending += [Consumer(world.now) for _ in range(plan.launch)]
        if plan.cancel:
            del world.pending[-plan.cancel :]
