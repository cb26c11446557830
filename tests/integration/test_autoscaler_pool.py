"""The controller over a pool like SkyPilot's: its states and delays, caps and pauses."""

from __future__ import annotations

import pytest

from shoal.errors import LauncherUnavailable
from shoal.queue import scaling
from shoal.queue.queue import JobQueue
from tests import autoscaling
from tests.autoscaling import Make, done, drive, reasons, status, submit
from tests.fake_sky import FakeSky, Job, Machine

sky, make = autoscaling.sky, autoscaling.make


def test_a_lower_cap_ends_the_surplus(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    """After the video that each has; videos that are queued wait."""
    controller = make()
    submit(queue, 60)
    drive(controller, sky, 15)
    assert len(sky.alive) == 6
    scaling.set_cap(queue.redis, queue.name, 2)
    drive(controller, sky, 5)
    assert "4 consumers end after their video" in reasons(queue)
    working = [job for job in sky.all_jobs if job.status == "RUNNING"]
    assert len(working) == 2
    drive(controller, sky, 10)
    assert len(sky.alive) == 2
    assert (status(queue).cap, status(queue).started) == (2, 2)
    scaling.set_cap(queue.redis, queue.name, None)
    assert drive(controller, sky, 10) == 6


def test_scaled_to_zero_nobody_takes_a_video(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    controller = make()
    submit(queue, 60)
    drive(controller, sky, 15)
    scaling.set_cap(queue.redis, queue.name, 0)
    drive(controller, sky, 3)
    finished, left = done(queue), queue.depth().queued
    assert left
    assert queue.depth().running == 0
    drive(controller, sky, 15)
    assert (done(queue), queue.depth().queued) == (finished, left)
    assert sky.alive == []
    assert sky.waiting == []
    scaling.set_cap(queue.redis, queue.name, None)
    drive(controller, sky, 60)
    assert done(queue) == 60


@pytest.mark.parametrize("call_s", [0, 5, 30])
def test_a_cap_of_one_over_ready_machines_launches_one(
    queue: JobQueue, sky: FakeSky, make: Make, call_s: float
) -> None:
    sky.machines = [Machine(number, sky.now, "READY") for number in range(1, 5)]
    sky.target, sky.call_s = 4, call_s
    controller = make()
    scaling.set_cap(queue.redis, queue.name, 1)
    submit(queue, 20)
    drive(controller, sky, 20)
    assert max(status(queue).started, 1) == 1
    assert sum(job.status in ("RUNNING", "SUCCEEDED") for job in sky.all_jobs) == 1


def test_a_paused_queue_gets_no_machine(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    controller = make()
    queue.pause()
    submit(queue, 6)
    assert drive(controller, sky, 30) == 0
    assert sky.all_jobs == []
    assert "in a paused queue want 0 machines" in reasons(queue)
    queue.resume()
    assert drive(controller, sky, 20) == 6


def test_a_queue_that_is_paused_at_work_lets_its_machines_go(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make()
    submit(queue, 20)
    drive(controller, sky, 8)
    queue.pause()
    drive(controller, sky, 30)
    assert sky.alive == []
    assert queue.depth().queued > 0


@pytest.mark.parametrize("boot_s", [60, 240])
@pytest.mark.parametrize("call_s", [0, 5, 30])
@pytest.mark.parametrize("jobs", [1, 3, 6, 20])
def test_no_machine_ends_while_work_waits_for_it(
    queue: JobQueue, sky: FakeSky, make: Make, jobs: int, call_s: float, boot_s: float
) -> None:
    """However long SkyPilot takes to answer (26 s were measured), and whatever boots meanwhile."""
    sky.call_s, sky.boot_s = call_s, boot_s
    controller = make()
    submit(queue, jobs)
    drive(controller, sky, 6)
    submit(queue, jobs, "late")
    drive(controller, sky, 60)
    assert sky.ended_in_need == []
    assert done(queue) == 2 * jobs
    assert sky.alive == []


def test_waiting_consumers_that_blink_are_waiting(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    """STARTING and RECOVERING do not make one that has a machine: none is launched for it."""
    controller = make()
    submit(queue, 3)
    for _ in range(12):
        controller.tick()
        sky.step()
        assert status(queue).started == 0
        assert status(queue).pending == len(sky.waiting)
    assert len(sky.all_jobs) <= 2


def test_a_consumer_that_lost_its_machine_waits(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    """The lost machine's row still names it."""
    controller = make()
    submit(queue, 1)
    drive(controller, sky, 6)
    (machine,) = [machine for machine in sky.alive if machine.job]
    sky.preempt(machine)
    controller.tick()
    assert status(queue).started == 0
    assert machine.last_job in [job.job_id for job in sky.waiting]


def test_the_newest_consumers_are_cancelled(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    launcher = make().launcher
    for _ in range(4):
        launcher.launch()
    ids = [consumer.id for consumer in launcher.observe().consumers]
    assert ids == ["1", "2", "3", "4"]
    assert launcher.cancel(ids[-2:]) == 2
    assert [consumer.id for consumer in launcher.observe().consumers] == ["1", "2"]


def test_a_machine_of_a_consumer_that_is_being_cancelled_is_not_free(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    leaving = Job(1, "shoal-worker", "shoal", "CANCELLING", until=sky.now + 900, waits=False)
    sky.all_jobs = [leaving]
    sky.machines = [Machine(1, 0, "READY", job=leaving, last_job=1)]
    fleet = make().launcher.observe()
    assert (fleet.machines, fleet.ready, fleet.consumers) == (1, 0, ())


@pytest.mark.parametrize(
    ("state", "machines", "ready", "failed"),
    [
        ("PENDING", 1, 0, False),
        ("PROVISIONING", 1, 0, False),
        ("STARTING", 1, 0, False),
        ("READY", 1, 1, False),
        ("NOT_READY", 1, 0, False),
        ("SHUTTING_DOWN", 0, 0, False),
        ("PREEMPTED", 0, 0, False),
        ("FAILED", 0, 0, True),
        ("FAILED_PROVISION", 0, 0, True),
        ("FAILED_CLEANUP", 0, 0, True),
    ],
)
def test_states_of_a_machine(
    sky: FakeSky, make: Make, state: str, machines: int, ready: int, failed: bool
) -> None:
    sky.machines = [Machine(1, 0, state)]
    fleet = make().launcher.observe()
    assert (fleet.machines, fleet.ready, bool(fleet.failures)) == (machines, ready, failed)


def test_a_failure_comes_with_its_reason(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    failed = Job(
        1, "shoal-worker", "shoal", "FAILED_SETUP", "no space left\n on device", waits=False
    )
    sky.all_jobs = [failed]
    sky.machines = [Machine(1, 0, "FAILED"), Machine(2, 0, "FAILED_CLEANUP")]
    failures = make().launcher.observe().failures
    assert failures["consumer 1"] == "no space left on device"
    assert "sky jobs pool logs shoal 1" in failures["machine 1"]
    assert "may still be billed" in failures["machine 2"]


def test_a_pool_that_does_not_exist(sky: FakeSky, make: Make) -> None:
    """SkyPilot answers with an empty list where its controller is part of the API server."""
    sky.exists = False
    with pytest.raises(LauncherUnavailable, match="no pool 'shoal'"):
        make().launcher.observe()
