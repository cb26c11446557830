"""The controller with its real decisions and a real queue; SkyPilot's SDK and time are made up."""

from __future__ import annotations

import threading

import pytest

from shoal.model.share import Share
from shoal.queue import scaling
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests import autoscaling
from tests.autoscaling import Make, done, drive, reasons, status, submit
from tests.fake_sky import FakeSky, Machine

sky, make = autoscaling.sky, autoscaling.make


def test_a_burst_grows_to_the_cap_and_goes_back_to_nothing(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make()
    submit(queue, 20)
    assert drive(controller, sky, 30) == 6
    assert done(queue) == 20
    assert drive(controller, sky, 10) <= 6
    assert sky.alive == []
    assert sky.waiting == []
    assert "the cap of 6 allows 6" in reasons(queue)
    assert status(queue).action == "idle"


def test_videos_that_max_running_holds_back_ask_for_no_machine(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make()
    submit(queue, 20, share=Share(source="batch:b", max_running=2))
    depth = queue.depth()
    assert (depth.queued, depth.held, depth.startable) == (20, 18, 2)
    assert drive(controller, sky, 10) == 2
    assert "2 queued and 0 running jobs want 2 machines" in reasons(queue)
    submit(queue, 1, "single")
    assert drive(controller, sky, 10) == 3
    drive(controller, sky, 60)
    assert done(queue) == 21
    assert queue.depth().held == 0
    assert sky.alive == []


def test_a_trickle_is_one_machines_work(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    controller = make()
    for hour in range(8):
        submit(queue, 1, f"hour{hour}-")
        assert drive(controller, sky, 8) == 1
    assert done(queue) == 8
    assert sky.machine_s < 8 * 8 * 60 * 1.3
    drive(controller, sky, 20)
    assert sky.alive == []


def test_a_preempted_machine_is_replaced(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    controller = make()
    submit(queue, 6)
    drive(controller, sky, 6)
    busy = [machine for machine in sky.alive if machine.job]
    assert busy
    for machine in busy:
        sky.preempt(machine)
    drive(controller, sky, 30)
    assert done(queue) == 6
    assert sky.alive == []


def test_rows_of_failed_machines_are_not_machines(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    sky.machines = [Machine(number, 0, "FAILED") for number in range(1, 7)]
    controller = make()
    submit(queue, 6)
    assert drive(controller, sky, 20) == 6
    assert done(queue) == 6


def test_growth_is_paused_while_machines_keep_failing(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    sky.boots_fail = True
    controller = make()
    submit(queue, 6)
    drive(controller, sky, 60)
    assert "paused: machines or consumers keep failing" in reasons(queue)
    assert len(sky.machines) < 40  # without a pause: a machine every 20 s, 180 of them
    sky.boots_fail = False
    drive(controller, sky, 60)
    assert done(queue) == 6


def test_an_api_server_that_is_away_costs_nothing_but_time(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make()
    submit(queue, 6)
    drive(controller, sky, 2)
    sky.away = True
    drive(controller, sky, 5)
    assert status(queue).action == "away"
    assert "Could not connect" in status(queue).reason
    sky.away = False
    drive(controller, sky, 30)
    assert done(queue) == 6
    assert sky.alive == []


def test_a_consumer_that_never_starts_is_worked_around_and_left_alone(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make(start_timeout_s=300)
    submit(queue, 1)
    sky.starts = False
    drive(controller, sky, 6)
    (stuck,) = [job for job in sky.all_jobs if job.status == "STARTING" and not job.waits]
    drive(controller, sky, 6)
    assert "1 never started and do not count" in reasons(queue)
    assert len(sky.alive) > 1
    assert stuck.status == "STARTING"  # it has a machine: not ours to end
    sky.starts = True
    drive(controller, sky, 10)
    assert done(queue) == 1


def test_a_consumer_that_gets_no_machine_is_replaced(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make(start_timeout_s=300)
    submit(queue, 1)
    sky.dispatches = False
    drive(controller, sky, 12)
    assert "have waited beside a free machine" in reasons(queue)
    assert [job.status for job in sky.all_jobs].count("CANCELLED") >= 1
    sky.dispatches = True
    drive(controller, sky, 10)
    assert done(queue) == 1


def test_growth_stops_at_the_budget(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    controller = make(SHOAL_HOURLY_PRICE=0.9, budget_per_hour=2.0)
    submit(queue, 20)
    assert drive(controller, sky, 10) <= 3
    assert "the budget of 2 per hour allows 2" in reasons(queue)
    assert status(queue).price_per_hour == pytest.approx(0.9 * len(sky.alive))


def test_two_controllers_decide_as_one(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    first, second = make(), make()
    submit(queue, 6)
    first.tick()
    second.tick()
    second.tick()
    assert len(sky.all_jobs) == 2
    assert status(queue).leader == first.name
    first.leader.release()  # it ends
    drive(second, sky, 30)
    assert done(queue) == 6


def test_a_controller_that_lost_its_lock_in_between_does_nothing(
    queue: JobQueue, sky: FakeSky, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make(), make()
    submit(queue, 6)
    observe = first.launcher.observe

    def slow() -> object:
        queue.redis.delete(scaling.leader_key(queue.name))  # it took so long that the lock lapsed
        assert second.leader.hold()
        return observe()

    monkeypatch.setattr(first.launcher, "observe", slow)
    first.tick()
    assert sky.all_jobs == []


def test_a_new_controller_finds_the_consumers_of_the_last(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    submit(queue, 6)
    for _ in range(6):
        controller = make()
        drive(controller, sky, 2)
        controller.leader.release()
    last = make()
    drive(last, sky, 30)
    assert done(queue) == 6
    assert len(sky.all_jobs) <= 12
    assert sky.alive == []


def test_without_a_pool_each_consumer_brings_its_machine(
    queue: JobQueue, sky: FakeSky, make: Make
) -> None:
    controller = make(pool=None)
    submit(queue, 4)
    assert drive(controller, sky, 20) == 4
    assert done(queue) == 4
    assert sky.alive == []


def test_it_outlives_a_redis_that_is_away(
    settings: Settings, sky: FakeSky, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shoal.errors import RedisUnavailable

    controller = make(tick_s=0.01)
    stop = threading.Event()
    outcomes = iter([RedisUnavailable("away"), RedisUnavailable("away"), None])

    def tick() -> None:
        outcome = next(outcomes)
        if outcome:
            raise outcome
        stop.set()

    monkeypatch.setattr(controller, "tick", tick)
    controller.run(stop)
    assert next(outcomes, "all of them") == "all of them"


def test_decisions_are_metrics(queue: JobQueue, sky: FakeSky, make: Make) -> None:
    controller = make()
    submit(queue, 3)
    drive(controller, sky, 1)
    registry = controller.journal.registry
    assert registry.get_sample_value("shoal_autoscaler_queued") == 3
    assert registry.get_sample_value("shoal_autoscaler_want") == 3
    assert registry.get_sample_value("shoal_autoscaler_leads") == 1
    launched = registry.get_sample_value("shoal_autoscaler_consumers_total", {"deed": "launched"})
    assert launched == len(sky.all_jobs) > 0
