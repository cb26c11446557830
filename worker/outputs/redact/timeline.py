"""The frames of a job in their order with what is to be hidden on each, from the joined tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco

from shoal.model.outputs import Redact
from shoal.results.formats.tables import Row, Tables
from worker.outputs.base import Notes, NotesFile
from worker.outputs.notes import read_rows, write_rows
from worker.outputs.redact.bridge import Bridge, Cover, CoverReason, Moment, Sighting
from worker.outputs.redact.scenes import scene_starts
from worker.outputs.table import TableSink

PIECE = "covers.parquet"
COVER = pa.struct(
    [
        ("why", pa.string()),
        ("prompt", pa.string()),
        ("object_id", pa.int32()),
        ("box", pa.list_(pa.float64())),
        ("counts", pa.string()),
    ]
)
COVERS: dict[str, pa.DataType] = {
    "frame": pa.int64(),
    "time_s": pa.float64(),
    "scene": pa.int64(),
    "covers": pa.list_(COVER),
}


class CoversTable(TableSink):
    """Parquet with a row per frame: what is to be hidden on it, see ``Moment``."""

    schema = pa.schema(COVERS)


def notes(options: Redact) -> Notes:
    """What is to be hidden, decided over the whole video: gaps are bridged from both sides."""

    def write(tables: Tables, files: Mapping[str, Path], stretches: Sequence[NotesFile]) -> None:
        prompts = options.prompts or tables.labels
        decided = moments(tables, files["light"], prompts, options.gap_seconds)
        write_rows(CoversTable, map(_row, decided), stretches)

    return Notes(PIECE, write)


def read(path: Path) -> Iterator[Moment]:
    """The frames of a stretch, from its notes."""
    for row in read_rows(path):
        covers = [
            Cover(**{**each, "why": CoverReason(each["why"]), "box": tuple(each["box"])})
            for each in row["covers"]
        ]
        yield Moment(row["frame"], row["time_s"], row["scene"], covers)


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


def _row(moment: Moment) -> tuple[Any, ...]:
    covers = [
        {
            "why": each.why.value,
            "prompt": each.prompt,
            "object_id": each.object_id,
            "box": each.box,
            "counts": each.counts,
        }
        for each in moment.covers
    ]
    return moment.index, moment.time_s, moment.scene, covers


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
