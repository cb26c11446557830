"""Machines of a pool, consumers on them and the queue, in steps of 5 s.

The pool is scaled by SkyPilot's own ``QueueLengthAutoscaler``, which asks its database for the
jobs of the pool: it is given ours instead. All else is the same for every strategy.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

from sky.serve import autoscalers, serve_state, service_spec

from benchmarks.day.load import Video

STEP_S = 5


@dataclass(frozen=True)
class Delays:
    """How the cloud and the worker behave."""

    ready_s: tuple[float, float] = (180, 420)  # from the request to a machine whose setup is done
    dispatch_s: float = 10  # from a free machine to a job that runs on it
    load_s: float = 60  # a worker loads and warms its model
    loss_per_hour: float = 0.06  # spot: chance that a machine is taken away
    notice_s: float = 25  # until the lease has lapsed and the video is in the queue again
    redo_s: float = 60  # at most so much work since the last part is done again


@dataclass(eq=False)
class Machine:
    """What the autoscaler sees of one (the names are those of SkyPilot's ``ReplicaInfo``)."""

    replica_id: int
    ready_at: float
    lost_at: float
    consumer: Consumer | None = None
    version: int = 1
    is_terminal: bool = False
    is_spot: bool = True
    is_ready: bool = False
    status_property: Any = field(
        default_factory=lambda: SimpleNamespace(unrecoverable_failure=lambda: False)
    )

    @property
    def cluster_name(self) -> str:
        return str(self.replica_id)

    @property
    def status(self) -> serve_state.ReplicaStatus:
        if self.is_ready:
            return serve_state.ReplicaStatus.READY
        return serve_state.ReplicaStatus.PROVISIONING


@dataclass(eq=False)
class Consumer:
    """A job of the pool: ``shoal worker``, for one video or for many."""

    pending_since: float
    own: Video | None = None  # the one video it is for
    video: Video | None = None
    warm_at: float = 0.0
    began_at: float = 0.0  # with that video
    ends_at: float = 0.0
    idle_since: float = 0.0


class Strategy(Protocol):
    """Who launches consumers, and when they end."""

    pool: dict[str, int]
    idle_exit_s: float

    def on_video(self, world: World, video: Video) -> None: ...
    def tick(self, world: World) -> None: ...


class World:
    """One day under one strategy."""

    def __init__(self, videos: list[Video], strategy: Strategy, delays: Delays, seed: int) -> None:
        self.strategy = strategy
        self.delays = delays
        self.chance = random.Random(seed)
        self.to_come = deque(videos)
        self.unfinished = len(videos)
        self.queue: deque[Video] = deque()
        self.lost: list[tuple[float, Video]] = []  # videos whose lease has not lapsed yet
        self.pending: list[Consumer] = []
        self.machines: list[Machine] = []
        self.now = 0.0
        self.gpu_s = 0.0
        self.losses = 0
        self.most = 0
        self.made = 0
        self._manned: dict[str, int] = {}  # jobs by machine, when the autoscaler last looked
        spec = service_spec.SkyServiceSpec.from_yaml_config({"pool": strategy.pool})
        self.autoscaler = autoscalers.Autoscaler.from_spec("pool", spec)

    @property
    def started(self) -> int:
        return sum(machine.consumer is not None for machine in self.machines)

    @property
    def running(self) -> int:
        """Videos that are with a worker, as the queue's records have it."""
        busy = sum(bool(m.consumer and m.consumer.video) for m in self.machines)
        return busy + len(self.lost)

    def run(self) -> None:
        """Until every video is done."""
        next_scaling = 0.0
        with self._jobs_of_the_pool():
            while self.unfinished:
                self._arrive()
                self._lose()
                self._dispatch()
                for machine in self.machines:
                    if machine.consumer:
                        self._work(machine, machine.consumer)
                self.strategy.tick(self)
                if self.now >= next_scaling:
                    self._scale()
                    next_scaling = self.now + self.autoscaler.get_decision_interval()
                self.gpu_s += STEP_S * len(self.machines)
                self.most = max(self.most, len(self.machines))
                self.now += STEP_S

    def _arrive(self) -> None:
        while self.to_come and self.to_come[0].came_at <= self.now:
            self.strategy.on_video(self, self.to_come.popleft())
        for at, video in [entry for entry in self.lost if entry[0] <= self.now]:
            self.lost.remove((at, video))
            self.queue.appendleft(video)

    def _lose(self) -> None:
        for machine in [m for m in self.machines if m.lost_at <= self.now]:
            self.machines.remove(machine)
            self.losses += 1
            consumer = machine.consumer
            if consumer is None:
                continue
            if video := consumer.video:
                redone = min(
                    self.chance.uniform(0, self.delays.redo_s), self.now - consumer.began_at
                )
                video.work_s = consumer.ends_at - self.now + redone
                consumer.video = None
                if consumer.own is None:
                    self.lost.append((self.now + self.delays.notice_s, video))
            consumer.pending_since = self.now  # SkyPilot gives the same job another machine
            self.pending.insert(0, consumer)

    def _dispatch(self) -> None:
        free = [m for m in self.machines if m.consumer is None]
        for machine in free:
            machine.is_ready = machine.ready_at <= self.now
            if not (machine.is_ready and self.pending):
                continue
            if self.pending[0].pending_since + self.delays.dispatch_s > self.now:
                continue
            machine.consumer = self.pending.pop(0)
            machine.consumer.warm_at = machine.consumer.idle_since = self.now + self.delays.load_s

    def _work(self, machine: Machine, consumer: Consumer) -> None:
        if self.now < consumer.warm_at:
            return
        if consumer.video and consumer.ends_at <= self.now:
            self._finish(consumer.video)
            consumer.video, consumer.idle_since = None, self.now
            if consumer.own:
                machine.consumer = None
                return
        if consumer.video is None:
            consumer.video = consumer.own or (self.queue.popleft() if self.queue else None)
            if video := consumer.video:
                video.began_at = self.now if video.began_at is None else video.began_at
                consumer.began_at = self.now
                consumer.ends_at = self.now + video.work_s
            elif self.now - consumer.idle_since >= self.strategy.idle_exit_s:
                machine.consumer = None

    def _finish(self, done: Video) -> None:
        """A video is done, or a piece of one, whose next pieces are first in line then."""
        video = done.whole or done
        video.pieces -= 1
        if video.pieces > 0:
            return
        if video.phases:
            self.queue.extendleft(video.next_pieces())
            return
        video.done_at = self.now
        self.unfinished -= 1

    def _scale(self) -> None:
        self._manned = {m.cluster_name: 1 for m in self.machines if m.consumer}
        for decision in self.autoscaler.generate_scaling_decisions(self.machines, [1]):
            if decision.operator == autoscalers.AutoscalerDecisionOperator.SCALE_UP:
                self._make()
            else:
                self.machines = [m for m in self.machines if m.replica_id != decision.target]

    def _make(self) -> None:
        self.made += 1
        ready = self.now + self.chance.uniform(*self.delays.ready_s)
        lost = self.now + self.chance.expovariate(self.delays.loss_per_hour / 3600)
        self.machines.append(Machine(self.made, ready, lost))

    @contextmanager
    def _jobs_of_the_pool(self) -> Iterator[None]:
        def pending(pool: str) -> int:
            return len(self.pending)

        def busy(pool: str, cluster_name: str) -> list[int]:
            return [1] if cluster_name in self._manned else []

        def counts(pool: str) -> dict[str, int]:
            return self._manned

        state = autoscalers.managed_job_state
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        with (
            mock.patch.object(state, "get_pending_jobs_count_by_pool", pending),
            mock.patch.object(state, "get_nonterminal_job_ids_by_pool", busy),
            mock.patch.object(state, "get_nonterminal_job_counts_by_pool", counts),
        ):
            yield
        logging.disable(level)
