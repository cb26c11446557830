"""Where objects came from: the last seconds of their ways, as an overlay draws them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from shoal.results.formats.tables import Tables
from worker.outputs.base import Notes, NotesFile
from worker.outputs.notes import read_rows, write_rows
from worker.outputs.table import TableSink
from worker.video.frame import Frame

Trails: TypeAlias = Mapping[int, Sequence[tuple[float, float]]]

TRAIL_S = 3.0  # how much of an object's way is drawn
BATCH_ROWS = 4096
COLUMNS = ["frame", "time_s", "object_id", "box_x0", "box_y0", "box_x1", "box_y1"]

CENTRES: dict[str, pa.DataType] = {
    "frame": pa.int64(),
    "time_s": pa.float64(),
    "object_id": pa.int32(),
    "x": pa.float64(),
    "y": pa.float64(),
}


class CentresTable(TableSink):
    """Parquet with a row per object and frame: where the centre of its box is, in pixels."""

    schema = pa.schema(CENTRES)


def _write(tables: Tables, files: Mapping[str, Path], stretches: Sequence[NotesFile]) -> None:
    write_rows(CentresTable, _centres(tables.masks), stretches, TRAIL_S)


def _centres(masks: Path) -> Iterator[tuple[int, float, int, float, float]]:
    with pq.ParquetFile(masks) as table:
        for batch in table.iter_batches(BATCH_ROWS, columns=COLUMNS):
            columns = [column.to_pylist() for column in batch.columns]
            for frame, time_s, object_id, x0, y0, x1, y1 in zip(*columns, strict=True):
                yield frame, time_s, object_id, (x0 + x1) / 2, (y0 + y1) / 2


NOTES = Notes("trails.parquet", _write)


class TrailReader:
    """Follows the notes along with the frames, from any of them on."""

    def __init__(self, path: Path) -> None:
        self._rows = read_rows(path)
        self._ahead = next(self._rows, None)
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}

    def at(self, frame: Frame) -> Trails:
        """The trails on a frame, oldest point first, by object; frames come in order."""
        while self._ahead and self._ahead["frame"] <= frame.index:
            row = self._ahead
            trail = self._trails.setdefault(row["object_id"], deque())
            trail.append((row["time_s"], row["x"], row["y"]))
            self._ahead = next(self._rows, None)
        for object_id, trail in list(self._trails.items()):
            while trail and trail[0][0] < frame.time_s - TRAIL_S:
                trail.popleft()
            if not trail:
                del self._trails[object_id]
        return {
            object_id: [(x, y) for _, x, y in trail] for object_id, trail in self._trails.items()
        }
