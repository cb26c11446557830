"""The frames of a job in their order with what is to be hidden on each, from the joined tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from shoal.formats.tables import Row, Tables
from worker.redact.bridge import Bridge, Moment, Sighting
from worker.redact.scenes import scene_starts


def moments(
    tables: Tables, light: Path, prompts: Collection[str], gap_s: float
) -> Iterator[Moment]:
    """All frames that were tracked, decided what to hide on each; see ``Bridge``.

    Args:
        light: the table of ``LightSink``, of the same frames.
        prompts: what is to be hidden.
    """
    scenes = np.cumsum(scene_starts(light)) - 1
    bridge = Bridge(gap_s)
    for scene, (index, time_s, rows) in zip(scenes, tables.by_frame(), strict=True):
        # An empty mask hides nothing: the object was followed, but not seen.
        seen = [row for row in rows if row.prompt in prompts and coco.area(row.coco_rle)]
        yield from bridge.add(Moment(index, time_s, int(scene)), [_sighting(row) for row in seen])
    yield from bridge.finish()


def _sighting(row: Row) -> Sighting:
    """With a box around mask and box."""
    x, y, width, height = coco.toBbox(row.coco_rle).tolist()
    box = (
        min(x, row.box_x0),
        min(y, row.box_y0),
        max(x + width, row.box_x1),
        max(y + height, row.box_y1),
    )
    return Sighting(row.object_id, row.prompt, row.score, box, row.rle)
