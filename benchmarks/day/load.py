"""A day of videos: when they come, and how long each keeps a GPU busy."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

DAY_S = 24 * 3600
SHORTEST_S, LONGEST_S = 20 * 60, 120 * 60
BATCHES = ((9.5, 0.05), (14.0, 0.08), (22.0, 0.07))  # hour, share of the day's videos at once


LONG_FRAMES = 180_000  # of two hours at 25 frames/s
GPU_FPS = 20  # frames a GPU tracks per second


@dataclass(frozen=True)
class SplitCosts:
    """What a split long video keeps workers busy for, assumed: in frames per second and seconds."""

    segments: int = 12  # of 600 s
    overlap: int = 32  # frames
    cut_fps: float = 600  # decoding only
    render_fps: float = 100  # decoding, drawing, encoding
    open_s: float = 10  # download and opening, of each piece of work
    join_s: float = 60

    def phases(self) -> list[list[float]]:
        """GPU seconds of the pieces of each phase: cut, track, join, render, final."""
        own = LONG_FRAMES / self.segments
        return [
            [self.open_s + LONG_FRAMES / self.cut_fps],
            [self.open_s + (own + self.overlap) / GPU_FPS] * self.segments,
            [self.join_s],
            [self.open_s + own / self.render_fps] * self.segments,
            [self.join_s],
        ]


@dataclass
class Video:
    """One job. Times are seconds since midnight.

    Attributes:
        phases: of a split job, the pieces of work that are still to come, phase by phase.
        whole: of a piece of work, the job.
        pieces: of a split job, the pieces at work.
    """

    number: int
    came_at: float
    work_s: float  # GPU time that is left
    began_at: float | None = None  # when a worker first took it
    done_at: float | None = None
    is_long: bool = False
    phases: list[list[float]] = field(default_factory=list)
    whole: Video | None = None
    pieces: int = 0

    def next_pieces(self) -> list[Video]:
        """What a split job has to do next, now that the pieces before are done."""
        works = self.phases.pop(0)
        self.pieces = len(works)
        return [
            Video(self.number, self.came_at, work, began_at=self.began_at, whole=self)
            for work in works
        ]

    @property
    def result_s(self) -> float:
        """From its arrival to its result."""
        assert self.done_at is not None
        return self.done_at - self.came_at

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


def with_long(videos: list[Video], share: float, seed: int, *, split: bool) -> list[Video]:
    """The same day, in which so many of the videos last two hours."""
    chance = random.Random(seed)
    for video in chance.sample(videos, round(share * len(videos))):
        video.is_long, video.work_s = True, LONG_FRAMES / GPU_FPS
        if split:
            (video.work_s,), *video.phases = SplitCosts().phases()
    return videos


def _work(chance: random.Random) -> float:
    while not SHORTEST_S <= (seconds := chance.lognormvariate(math.log(45 * 60), 0.5)) <= LONGEST_S:
        pass
    return seconds
