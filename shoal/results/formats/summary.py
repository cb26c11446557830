"""The tracks and counts in short, for dashboards and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoal.results.formats.tables import Row, Tables, areas
from shoal.results.layout import Counts, ResultSummary, Track

MISSED_FRAMES = 2.5  # an object that is missing for longer, in written frames, has left
MAX_PATH = 100  # points of an object's path
MAX_BINS = 500  # of counts over time


@dataclass(slots=True)
class _Seen:
    """One object so far. Its path keeps every ``stride``-th point, fewer as it grows."""

    prompt: str
    first: Row
    last: Row
    frames: int = 0
    visible_s: float = 0.0
    area: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)
    path: list[tuple[float, float, float]] = field(default_factory=list)
    stride: int = 1

    def add(self, row: Row, area: int, lasts_s: float, gap_s: float) -> None:
        if self.frames % self.stride == 0:
            x, y = (row.box_x0 + row.box_x1) / 2, (row.box_y0 + row.box_y1) / 2
            self.path.append((round(row.time_s, 3), round(x, 1), round(y, 1)))
            if len(self.path) > MAX_PATH:
                self.path, self.stride = self.path[::2], 2 * self.stride
        self.frames += 1
        self.last = row
        self.area += area
        self.visible_s += lasts_s
        if self.spans and row.time_s - self.spans[-1][1] <= gap_s:
            self.spans[-1] = (self.spans[-1][0], row.time_s)
        else:
            self.spans.append((row.time_s, row.time_s))


def write(tables: Tables, path: Path) -> None:
    """Write ``ResultSummary`` as JSON."""
    path.write_text(summarize(tables).model_dump_json() + "\n")


def summarize(tables: Tables) -> ResultSummary:
    """Read the tables once and tell what is in them."""
    gap_s = MISSED_FRAMES / tables.fps if tables.fps else 0.0
    lasts_s = _durations(tables)
    seen: dict[int, _Seen] = {}
    counts = {label: np.zeros(len(tables.indices), np.int32) for label in tables.labels}
    for batch in tables.batches():
        for row, area in zip(batch, areas(batch), strict=True):
            at = tables.position(row.frame)
            counts[row.prompt][at] += 1
            one = seen.setdefault(row.object_id, _Seen(row.prompt, row, row))
            one.add(row, area, float(lasts_s[at]), gap_s)
    return ResultSummary(
        duration_s=round(tables.duration_s, 3),
        tracks=[_track(object_id, each) for object_id, each in seen.items()],
        counts=_binned(tables, counts),
    )


def _durations(tables: Tables) -> NDArray[np.float64]:
    """(n,) seconds that each written frame stands for: up to the next one."""
    steps = np.diff(tables.times)
    last = steps.mean() if len(steps) else 0.0
    return np.append(steps, last)[: len(tables.times)]


def _track(object_id: int, seen: _Seen) -> Track:
    return Track(
        object_id=object_id,
        prompt=seen.prompt,
        frames=seen.frames,
        first_frame=seen.first.frame,
        last_frame=seen.last.frame,
        visible_s=round(seen.visible_s, 3),
        mean_area=round(seen.area / seen.frames, 1),
        spans=[(round(start, 3), round(end, 3)) for start, end in seen.spans],
        path=seen.path,
    )


def _binned(tables: Tables, counts: dict[str, NDArray[np.int32]]) -> Counts:
    frames = len(tables.indices)
    size = max(1, -(-frames // MAX_BINS))
    starts = np.arange(0, frames, size)
    widths = np.diff(np.append(starts, frames))
    means = {
        label: (np.add.reduceat(each, starts) / widths).round(2).tolist()
        for label, each in counts.items()
    }
    most = {label: np.maximum.reduceat(each, starts).tolist() for label, each in counts.items()}
    return Counts(
        times_s=tables.times[starts].round(3).tolist(), frames_per_bin=size, mean=means, most=most
    )
