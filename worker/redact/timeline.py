"""The frames of a job in their order with what was found on each, from the joined tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pycocotools import mask as coco

from worker.redact.bridge import Bridge, Moment, Sighting
from worker.redact.scenes import scene_starts

BATCH_ROWS = 1_000


def moments(
    frames: Path, masks: Path, light: Path, prompts: Collection[str], gap_s: float
) -> Iterator[Moment]:
    """All frames, decided what to hide on each; see ``Bridge``.

    Args:
        frames, masks, light: the tables of all frames of a job.
        prompts: what is to be hidden.
    """
    scenes = np.cumsum(scene_starts(light)) - 1
    found = groupby(_sightings(masks, prompts), key=lambda pair: pair[0])
    index, on_it = next(found, (-1, iter(())))
    bridge = Bridge(gap_s)
    for scene, (frame, time_s) in zip(scenes, _frames(frames), strict=True):
        sightings = []
        if index == frame:
            sightings = [sighting for _, sighting in on_it]
            index, on_it = next(found, (-1, iter(())))
        yield from bridge.add(Moment(frame, time_s, int(scene)), sightings)
    yield from bridge.finish()


def _frames(path: Path) -> Iterator[tuple[int, float]]:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(BATCH_ROWS, columns=["frame", "time_s"]):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _sightings(path: Path, prompts: Collection[str]) -> Iterator[tuple[int, Sighting]]:
    """What is to be hidden, with the index of its frame; empty masks hide nothing."""
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(BATCH_ROWS):
            for row in batch.to_pylist():
                rle = {"size": [row["height"], row["width"]], "counts": row["rle"]}
                if row["prompt"] not in prompts or not coco.area(rle):
                    continue
                x, y, width, height = coco.toBbox(rle).tolist()
                box = (
                    min(x, row["box_x0"]),
                    min(y, row["box_y0"]),
                    max(x + width, row["box_x1"]),
                    max(y + height, row["box_y1"]),
                )
                yield (
                    row["frame"],
                    Sighting(row["object_id"], row["prompt"], row["score"], box, row["rle"]),
                )
