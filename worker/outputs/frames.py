"""Which frames were written: one row each, also of those without objects."""

from __future__ import annotations

import pyarrow as pa

from worker.engines.base import FrameResult
from worker.outputs.table import TableSink
from worker.video.frame import Frame

COLUMNS: dict[str, pa.DataType] = {
    "frame": pa.int64(),  # position in the source, from 0
    "time_s": pa.float64(),  # seconds since the first frame
    "objects": pa.int32(),  # how many are on it
    "file_name": pa.string(),  # of the picture in a folder or tar; null in a video
}
SCHEMA = pa.schema(COLUMNS)
GROUP_ROWS = 50_000


class FramesSink(TableSink):
    """Parquet with the columns of ``SCHEMA``."""

    name = "frames"
    schema = SCHEMA

    def write(self, frame: Frame, result: FrameResult) -> None:
        name = frame.name or None
        self._rows.append((frame.index, frame.time_s, len(result.objects), name))
        if len(self._rows) >= GROUP_ROWS:
            self.flush()
