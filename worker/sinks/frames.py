"""Which frames were written: one row each, also of those without objects."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worker.predictors.base import FrameResult
from worker.video.frame import Frame

COLUMNS: dict[str, pa.DataType] = {
    "frame": pa.int64(),  # position in the source, from 0
    "time_s": pa.float64(),  # seconds since the first frame
    "objects": pa.int32(),  # how many are on it
}
SCHEMA = pa.schema(COLUMNS)
GROUP_ROWS = 50_000


class FramesSink:
    """Parquet with the columns of ``SCHEMA``."""

    name = "frames"

    def __init__(self, path: Path) -> None:
        """``path`` is written to from the first ``write`` on."""
        self._path = path
        self._rows: list[tuple[int, float, int]] = []

    @cached_property
    def _writer(self) -> pq.ParquetWriter:
        return pq.ParquetWriter(self._path, SCHEMA, compression="zstd")

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._rows.append((frame.index, frame.time_s, len(result.objects)))
        if len(self._rows) >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def abort(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(SCHEMA)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._rows.clear()
