"""Parquet files that sinks fill, a group of rows at a time."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq


class TableSink:
    """What the sinks have in common whose output is a table: they add rows, and say with ``flush``
    when a group of them is to be written, so that memory does not grow with the video."""

    schema: ClassVar[pa.Schema]

    def __init__(self, path: Path) -> None:
        """``path`` is written to from the first group on."""
        self._path = path
        self._rows: list[tuple[Any, ...]] = []

    @cached_property
    def _writer(self) -> pq.ParquetWriter:
        return pq.ParquetWriter(self._path, self.schema, compression="zstd")

    def add(self, row: tuple[Any, ...], group_rows: int) -> None:
        """Add a row; so many are a group."""
        self._rows.append(row)
        if len(self._rows) >= group_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows so far as a group."""
        columns = zip(*self._rows, strict=True)
        arrays = [
            pa.array(column, kind.type) for column, kind in zip(columns, self.schema, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self._rows.clear()

    def close(self) -> None:
        if self._rows:
            self.flush()
        self._writer.close()

    def abort(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._path.unlink(missing_ok=True)
