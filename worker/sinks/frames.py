"""Which frames were written: one row each, also of those without objects."""

from __future__ import annotations

import pyarrow as pa

from worker.predictors.base import FrameResult
from worker.sinks.table import TableSink
from worker.video.frame import Frame

COLUMNS: dict[str, pa.DataType] = {
    "frame": pa.int64(),  # position in the source, from 0
    "time_s": pa.float64(),  # seconds since the first frame
    "objects": pa.int32(),  # how many are on it
}
SCHEMA = pa.schema(COLUMNS)
GROUP_ROWS = 50_000


class FramesSink(TableSink):
    """Parquet with the columns of ``SCHEMA``."""

    name = "frames"
    schema = SCHEMA

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._rows.append((frame.index, frame.time_s, len(result.objects)))
        if len(self._rows) >= GROUP_ROWS:
            self.flush()
