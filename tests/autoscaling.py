"""A controller with its real decisions and a real queue; SkyPilot's SDK and time are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from autoscaler.controller import Controller
from autoscaler.launchers.skypilot import SkyLauncher
from autoscaler.sdk import Sdk
from autoscaler.settings import ScaleSettings
from shoal.model.job import JobSpec, State
from shoal.model.scaling import ScalingStatus
from shoal.model.share import DEFAULT, Share
from shoal.queue import scaling
from shoal.queue.queue import JobQueue
from tests.fake_sky import FakeSky

Make = Callable[..., Controller]


@pytest.fixture
def sky(queue: JobQueue) -> FakeSky:
    return FakeSky(queue)


@pytest.fixture
def make(queue: JobQueue, sky: FakeSky) -> Iterator[Make]:
    """Makes a controller over the queue and the made-up SkyPilot."""
    made: list[Controller] = []

    def make(pool: str | None = "shoal", **settings: float) -> Controller:
        launcher = SkyLauncher(
            {"name": "w", "secrets": {}}, {}, pool=pool, job_name="shoal-worker", sdk=Sdk(sky)
        )
        given = ScaleSettings.model_validate({"cap": 6, **settings})
        controller = Controller(queue, launcher, given, clock=lambda: sky.now)
        made.append(controller)
        return controller

    yield make
    for controller in made:
        controller.leader.release()  # else its thread renews the lock for as long as the tests run


def submit(queue: JobQueue, count: int, kind: str = "v", share: Share = DEFAULT) -> None:
    for number in range(count):
        spec = JobSpec(
            uri=f"gs://b/{kind}{number}.mp4", version="1", size=1, prompts=("p",), results="gs://r"
        )
        queue.submit(spec, share=share)


def drive(controller: Controller, sky: FakeSky, minutes: float) -> int:
    """Let time go by, with a decision every 20 s; returns the most machines there were."""
    most, end, next_tick = 0, sky.now + minutes * 60, sky.now
    while sky.now < end:
        if sky.now >= next_tick:
            next_tick = sky.now + 20
            controller.tick()  # which may take longer
        sky.step()
        most = max(most, len(sky.alive))
    return most


def done(queue: JobQueue) -> int:
    return queue.records.counts()[State.SUCCEEDED]


def reasons(queue: JobQueue) -> str:
    found = scaling.read(queue.redis, queue.name, limit=500).decisions
    return "\n".join(f"{decision.action}: {decision.reason}" for decision in found)


def status(queue: JobQueue) -> ScalingStatus:
    found = scaling.read(queue.redis, queue.name).status
    assert found
    return found
