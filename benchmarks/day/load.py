"""A day of videos: when they come, and how long each keeps a GPU busy."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

DAY_S = 24 * 3600
SHORTEST_S, LONGEST_S = 20 * 60, 120 * 60
BATCHES = ((9.5, 0.05), (14.0, 0.08), (22.0, 0.07))  # hour, share of the day's videos at once


@dataclass
class Video:
    """One job. Times are seconds since midnight."""

    number: int
    came_at: float
    work_s: float  # GPU time that is left
    began_at: float | None = None  # when a worker first took it
    done_at: float | None = None

    @property
    def wait_s(self) -> float:
        assert self.began_at is not None
        return self.began_at - self.came_at


def day(videos: int, seed: int) -> list[Video]:
    """A working day with a quiet night, in order of arrival.

    Four fifths come one by one, with a rate that follows a sine (lowest at 4, highest at 16
    o'clock), the others in three batches. GPU times are log-normal around 45 minutes, between 20
    minutes and 2 hours.
    """
    chance = random.Random(seed)
    batches = [(hour * 3600, round(share * videos)) for hour, share in BATCHES]
    singles = videos - sum(count for _, count in batches)
    times = [hour for hour, count in batches for _ in range(count)]
    while len(times) < singles + sum(count for _, count in batches):
        at = chance.uniform(0, DAY_S)
        if chance.random() < 0.55 - 0.45 * math.cos((at / DAY_S - 4 / 24) * 2 * math.pi):
            times.append(at)
    return [Video(number, at, _work(chance)) for number, at in enumerate(sorted(times))]


def _work(chance: random.Random) -> float:
    while not SHORTEST_S <= (seconds := chance.lognormvariate(math.log(45 * 60), 0.5)) <= LONGEST_S:
        pass
    return seconds
