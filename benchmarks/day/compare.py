"""The same day under each strategy."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields

from autoscaler.rule import Limits
from benchmarks.day.load import DAY_S, Video, day, with_long
from benchmarks.day.strategies import Controlled, FixedPool, SkyPilotsOwn
from benchmarks.day.world import Delays, Strategy, World

CAP = 150  # machines, for every strategy that scales
PRICE = 0.30  # $ per GPU hour: an assumed spot price
POOL = {  # the numbers of deploy/skypilot/pool.yaml
    "min_workers": 0,
    "max_workers": CAP,
    "queue_length_threshold": 1,
    "upscale_delay_seconds": 0,
    "downscale_delay_seconds": 300,
}


@dataclass(frozen=True)
class Row:
    """A strategy, and what became of the day. Times in minutes."""

    strategy: str
    gpu_hours: float
    cost: float
    wait_median: float
    wait_p95: float
    wait_longest: float
    machines_most: int
    machines_lost: int


def compare(videos: int, seed: int) -> Iterator[tuple[str, Row]]:
    """Every strategy, by a short name. Takes some 20 s for 2000 videos."""
    load = day(videos, seed)

    def run(name: str, strategy: Strategy) -> Row:
        return measure(name, deepcopy(load), strategy, seed)

    ours = run("Shoal's controller", Controlled(Limits(CAP), 120, POOL))
    yield "ours", ours
    yield "ours-600", run("the same, workers wait 600 s", Controlled(Limits(CAP), 600, POOL))
    yield "sky", run("SkyPilot's autoscaler, default delays", SkyPilotsOwn(CAP))
    delays = {"upscale_delay_seconds": 0, "downscale_delay_seconds": 60}
    yield "sky-quick", run("SkyPilot's autoscaler, delays 0 and 60 s", SkyPilotsOwn(CAP, **delays))

    load_mean = sum(video.work_s for video in load) / DAY_S

    def fixed(workers: int) -> Row:
        return run("fixed pool, no less waiting than ours", FixedPool(workers))

    yield "fixed", largest_that_waits(fixed, ours.wait_median, round(load_mean), 2 * CAP)
    name = "fixed pool of 1.2 times the mean load"
    yield "fixed-mean", run(name, FixedPool(round(1.2 * load_mean)))


@dataclass(frozen=True)
class LongRow:
    """How long videos and the others fare, unsplit or split. Times in minutes."""

    name: str
    gpu_hours: float
    wait_median: float
    wait_p95: float
    result_median: float
    result_p95: float
    others_wait_median: float
    others_wait_p95: float
    machines_most: float


def compare_long(videos: int, share: float, seed: int) -> Iterator[tuple[str, LongRow]]:
    """A day on which a share of the videos lasts two hours, under Shoal's controller."""
    for name, split in (("unsplit", False), ("split", True)):
        load = with_long(day(videos, seed), share, seed, split=split)
        world = World(load, Controlled(Limits(CAP), 120, POOL), Delays(), seed)
        world.run()
        waits, results, others = (
            sorted(each / 60 for each in found)
            for found in (
                [video.wait_s for video in load if video.is_long],
                [video.result_s for video in load if video.is_long],
                [video.wait_s for video in load if not video.is_long],
            )
        )
        yield (
            name,
            LongRow(
                name=name,
                gpu_hours=world.gpu_s / 3600,
                wait_median=statistics.median(waits),
                wait_p95=_p95(waits),
                result_median=statistics.median(results),
                result_p95=_p95(results),
                others_wait_median=statistics.median(others),
                others_wait_p95=_p95(others),
                machines_most=world.most,
            ),
        )


def _p95(ascending: list[float]) -> float:
    return ascending[int(0.95 * len(ascending))]


def mean_long(rows: list[LongRow]) -> LongRow:
    """Over several days."""
    names = [each.name for each in fields(LongRow) if each.name != "name"]
    means = {name: statistics.fmean(getattr(row, name) for row in rows) for name in names}
    return LongRow(name=rows[0].name, **means)


def largest_that_waits(fixed: Callable[[int], Row], wait_median: float, low: int, high: int) -> Row:
    """The largest fixed pool, of ``low`` to ``high``, whose median wait is not shorter."""
    found = fixed(low)
    while low + 1 < high:
        middle = (low + high) // 2
        row = fixed(middle)
        if row.wait_median >= wait_median:
            low, found = middle, row
        else:
            high = middle
    return found


def measure(name: str, videos: list[Video], strategy: Strategy, seed: int) -> Row:
    world = World(videos, strategy, Delays(), seed)
    world.run()
    waits = sorted(video.wait_s / 60 for video in videos)
    hours = world.gpu_s / 3600
    return Row(
        strategy=name,
        gpu_hours=hours,
        cost=hours * PRICE,
        wait_median=statistics.median(waits),
        wait_p95=_p95(waits),
        wait_longest=waits[-1],
        machines_most=world.most,
        machines_lost=world.losses,
    )


def mean(rows: list[Row]) -> Row:
    """Of the same strategy over several days."""

    def average(get: Callable[[Row], float]) -> float:
        return statistics.fmean(get(row) for row in rows)

    return Row(
        strategy=rows[0].strategy,
        gpu_hours=average(lambda row: row.gpu_hours),
        cost=average(lambda row: row.cost),
        wait_median=average(lambda row: row.wait_median),
        wait_p95=average(lambda row: row.wait_p95),
        wait_longest=average(lambda row: row.wait_longest),
        machines_most=round(average(lambda row: row.machines_most)),
        machines_lost=round(average(lambda row: row.machines_lost)),
    )
