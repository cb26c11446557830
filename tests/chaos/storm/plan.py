"""What happens in a storm and when: a function of the seed alone.

Each target has a lane of its own, on which one fault follows the other; lanes overlap.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.storm.proxy import NetFault

SCHEMES = ("file", "s3", "gs")
PROMPTS = (("person", "car"), ("bicycle", "person"))
CLIPS = 3
SETTLE_S = 3.0  # before the first fault

PROCESS_FAULTS = ("SIGKILL", "SIGTERM", "SIGSTOP")
WORKER_FAULTS = (*PROCESS_FAULTS, "SIGKILL model")
VALKEY_FAULTS = ("OOM", "MISCONF", "restart", "freeze")
NET_FAULTS = tuple(NetFault)
CLOCK_STEPS_S = (-7200, -300, 300, 7200, 40 * 86400)  # the last one is beyond all retention

# Seconds between two faults of a lane in the mean, and how long one lasts at most.
GAP_S = {
    "worker": 25,
    "api": 30,
    "clock": 40,
    "link": 40,
    "gs": 12,  # all processes share it
    "valkey": 25,
    "root": 30,
    "receiver": 40,
}
LONGEST_S = {"clock": 20}  # of all others:
LONG_S = 8


@dataclass(frozen=True)
class Step:
    """Something that happens.

    Attributes:
        at_s: seconds since the start of the storm.
        target: what it happens to: a process, a link, ``valkey``; or ``user``.
        seconds: how long it lasts; 0 for what is over at once.
        choice: 0 to 1: which of the things there are at that moment, where there are several.
        amount: of a clock step, in seconds; the number of videos of a batch.
    """

    at_s: float
    kind: str
    target: str
    seconds: float = 0.0
    choice: float = 0.0
    amount: int = 0


@dataclass(frozen=True)
class Video:
    """A source of the storm."""

    name: str
    scheme: str
    clip: int
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """One round: what there is, what users do, and what goes wrong.

    Attributes:
        results: the scheme of the results' URI.
    """

    seed: str
    seconds: float
    results: str
    videos: tuple[Video, ...]
    steps: tuple[Step, ...]


def draw(
    seed: str,
    number: int,
    *,
    seconds: float,
    videos: int,
    processes: Sequence[str],
    pace: float = 1.0,
) -> Plan:
    """The plan of a round.

    Args:
        number: of the round, from 0.
        pace: how much less than usual it takes from one fault to the next.
        processes: names of APIs (``api-...``) and workers (``worker-...``).
    """
    chance = random.Random(f"{seed}/{number}")
    sources = tuple(
        Video(
            name=f"video-{index}",
            scheme=SCHEMES[index % len(SCHEMES)],
            clip=chance.randrange(CLIPS),
            prompts=chance.choice(PROMPTS),
        )
        for index in range(videos)
    )
    steps = [*_users(chance, seconds, sources)]
    for target in _targets(processes):
        steps += _lane(chance, target, seconds, pace)
    return Plan(
        seed=f"{seed}/{number}",
        seconds=seconds,
        results=SCHEMES[(number + 1) % len(SCHEMES)],
        videos=sources,
        steps=tuple(sorted(steps, key=lambda step: (step.at_s, step.target))),
    )


def _targets(processes: Sequence[str]) -> list[str]:
    links = [f"link {name} {server}" for name in processes for server in ("redis", "s3")]
    clocks = [f"clock {name}" for name in processes]
    return [*processes, *clocks, *links, "link all gs", "valkey", "root", "receiver"]


def _lane(chance: random.Random, target: str, seconds: float, pace: float) -> Iterator[Step]:
    lane = "gs" if target.endswith(" gs") else target.replace("-", " ").split()[0]
    longest = LONGEST_S.get(lane, LONG_S)
    at = SETTLE_S + chance.expovariate(pace / GAP_S[lane])
    while at < seconds:
        lasts = chance.uniform(0.5, min(longest, max(0.5, seconds - at)))
        kind, amount = _fault(chance, lane)
        yield Step(at, kind, target, lasts, chance.random(), amount)
        at += lasts + chance.expovariate(pace / GAP_S[lane])


def _fault(chance: random.Random, lane: str) -> tuple[str, int]:
    if lane == "clock":
        return "clock step", chance.choice(CLOCK_STEPS_S)
    kinds: dict[str, Sequence[str]] = {
        "worker": WORKER_FAULTS,
        "api": PROCESS_FAULTS,
        "link": NET_FAULTS,
        "gs": NET_FAULTS,
        "valkey": VALKEY_FAULTS,
        "root": ("root away",),
        "receiver": ("refuses",),
    }
    return str(chance.choice(kinds[lane])), 0


def _users(chance: random.Random, seconds: float, videos: Sequence[Video]) -> Iterator[Step]:
    """Every video is submitted once, alone or with others; meanwhile users change their minds."""
    left = len(videos)
    at = 0.0
    pace = seconds * 0.8 / max(1, left)  # most come early, so that the storm finds them at work
    while left:
        size = min(left, chance.randint(4, 10) if chance.random() < 0.25 else 1)
        yield Step(at, "batch" if size > 1 else "submit", "user", 0.0, chance.random(), size)
        left -= size
        at += chance.uniform(0, 1.6) * pace * size
    kinds = ("cancel", "retry", "submit again", "priority", "cancel batch", "retry batch", "pause")
    weights = (5, 4, 4, 3, 1, 1, 1)
    at = chance.uniform(1, 3)
    while at < seconds:
        (kind,) = chance.choices(kinds, weights)
        yield Step(at, kind, "user", chance.uniform(0.5, 4), chance.random())
        at += chance.expovariate(1 / 1.5)
