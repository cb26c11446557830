"""The activity chart: samples of the queue as SVG coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from shoal.queue.stats import MINUTE_S, Sample

WIDTH, HEIGHT = 960, 150  # of the drawing, in its own units
BARS, BARS_HEIGHT = 48, 44
HOURS = (1, 6, 24)


@dataclass
class Bar:
    """The jobs that ended within one of the equal time spans."""

    x: float
    width: float
    start: float  # seconds since the epoch
    end: float
    succeeded: int = 0
    failed: int = 0
    good_height: float = 0.0
    bad_height: float = 0.0


@dataclass
class Chart:
    """The whole chart.

    Attributes:
        queued, running: SVG points of the areas; queued is stacked on top of running.
        peak: number of jobs at the top of the scale.
    """

    hours: int
    queued: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    peak: int = 1
    most_ended: int = 0
    bars: list[Bar] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)  # percent of the width, label
    bar_s: float = 0.0  # seconds that one bar covers
    width: int = WIDTH
    height: int = HEIGHT
    bars_height: int = BARS_HEIGHT
    is_empty: bool = True


def draw(samples: Sequence[Sample], hours: int, until: float) -> Chart:
    """
    Args:
        samples: oldest first; one before the span is needed to count its first minute.
        until: right edge, in seconds since the epoch.
    """
    start = until - hours * 3600
    chart = Chart(hours, is_empty=len(samples) < 2)
    chart.peak = _ceiling(max((s.queued + s.running for s in samples), default=0))
    for run in _runs([s for s in samples if s.at >= start]):
        xs = [WIDTH * (s.at - start) / (until - start) for s in run]
        totals = [_y(s.queued + s.running, chart.peak) for s in run]
        running = [_y(s.running, chart.peak) for s in run]
        chart.queued.append(_area(xs, totals))
        chart.running.append(_area(xs, running))
    chart.bars = _bars(samples, start, until)
    chart.most_ended = max((b.succeeded + b.failed for b in chart.bars), default=0)
    for bar in chart.bars:
        scale = BARS_HEIGHT / max(1, chart.most_ended)
        bar.good_height = round(scale * bar.succeeded, 1)
        bar.bad_height = round(scale * bar.failed, 1)
    chart.bar_s = hours * 3600 / BARS
    steps = 6 if hours < 24 else 8
    step_h = hours / steps
    for step in range(1, steps):
        back = step * step_h
        label = f"{back:.0f} h ago" if step_h >= 1 else f"{60 * back:.0f} min ago"
        chart.marks.append((round(100 * (1 - step / steps), 2), label))
    return chart


def _bars(samples: Sequence[Sample], start: float, until: float) -> list[Bar]:
    span, width = (until - start) / BARS, WIDTH / BARS
    bars = [
        Bar(round(i * width, 1), round(width, 1), start + i * span, start + (i + 1) * span)
        for i in range(BARS)
    ]
    for before, after in itertools.pairwise(samples):
        index = int((after.at - start) // span)
        if 0 <= index < BARS:
            bars[index].succeeded += max(0, after.succeeded - before.succeeded)
            bars[index].failed += max(0, after.failed - before.failed)
    return bars


def _runs(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Runs of samples without a gap; nothing is drawn where samples are missing."""
    runs: list[list[Sample]] = []
    for sample in samples:
        if runs and sample.at - runs[-1][-1].at <= 3 * MINUTE_S:
            runs[-1].append(sample)
        else:
            runs.append([sample])
    return runs


def _area(xs: Sequence[float], ys: Sequence[float]) -> str:
    points = [(xs[0], HEIGHT), *zip(xs, ys, strict=True), (xs[-1], HEIGHT)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _y(value: float, peak: int) -> float:
    return HEIGHT * (1 - value / peak)


def _ceiling(value: int) -> int:
    """The next round number, so that the axis does not jump with every video."""
    rounds = (factor * int(10**power) for power in itertools.count() for factor in (1, 2, 4, 6, 8))
    return next(number for number in rounds if number >= max(4, value))
