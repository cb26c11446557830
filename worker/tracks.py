"""Who is to be seen when: the mask table in short."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from shoal.results import Track

COLUMNS = ["time_s", "object_id", "prompt"]
MISSED_FRAMES = 2.5  # an object that is missing for longer, in written frames, has left


@dataclass(slots=True)
class _Seen:
    prompt: str
    frames: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list)


def read_tracks(masks: Path, fps: float) -> list[Track]:
    """The objects of a mask table, by first appearance; reads it row group by row group.

    Args:
        fps: mean written frames per second; 0 for a single frame.
    """
    gap_s = MISSED_FRAMES / fps if fps else 0.0
    seen: dict[int, _Seen] = {}
    with pq.ParquetFile(masks) as table:
        for batch in table.iter_batches(columns=COLUMNS):
            for at, object_id, prompt in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                _extend(seen.setdefault(object_id, _Seen(prompt)), at, gap_s)
    return [
        Track(
            object_id=object_id,
            prompt=each.prompt,
            frames=each.frames,
            spans=[(round(start, 3), round(end, 3)) for start, end in each.spans],
        )
        for object_id, each in seen.items()
    ]


def _extend(seen: _Seen, at: float, gap_s: float) -> None:
    seen.frames += 1
    if seen.spans and at - seen.spans[-1][1] <= gap_s:
        seen.spans[-1] = (seen.spans[-1][0], at)
    else:
        seen.spans.append((at, at))
