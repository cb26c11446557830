"""The masks as a table: one row per object and written frame, in Parquet."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from worker.predictors.base import FrameResult
from worker.sinks import rle
from worker.video.frame import Frame, VideoInfo

COLUMNS: dict[str, pa.DataType] = {
    "frame": pa.int64(),  # position in the source, from 0
    "time_s": pa.float64(),  # seconds since the first frame
    "object_id": pa.int32(),
    "prompt": pa.dictionary(pa.int32(), pa.string()),
    "score": pa.float32(),  # of this frame
    "detection_score": pa.float32(),  # of the object's first frame; null if it was not detected
    "box_x0": pa.float32(),  # pixels, left
    "box_y0": pa.float32(),  # top
    "box_x1": pa.float32(),  # right
    "box_y1": pa.float32(),  # bottom
    "rle": pa.string(),  # COCO compressed RLE counts
    "height": pa.int32(),  # of the frame, in pixels
    "width": pa.int32(),
}
SCHEMA = pa.schema(COLUMNS)

# A row group is written when it holds this much, so that memory does not grow with the video.
GROUP_ROWS = 5_000
GROUP_RLE_CHARS = 2 << 20


class MasksSink:
    """Parquet with the columns of ``COLUMNS``.

    ``pycocotools.mask.decode({"size": [height, width], "counts": rle})`` gives a row's mask.
    """

    name = "masks"

    def __init__(self, path: Path, video: VideoInfo) -> None:
        """``path`` is written to from the first ``write`` on; ``video`` is the source."""
        self._path = path
        self._size = video.height, video.width
        self._rows: list[tuple[Any, ...]] = []
        self._rle_chars = 0

    @cached_property
    def _writer(self) -> pq.ParquetWriter:
        return pq.ParquetWriter(self._path, SCHEMA, compression="zstd")

    def write(self, frame: Frame, result: FrameResult) -> None:
        height, width = self._size
        for item in result.objects:
            counts = rle.encode(item.mask, height, width)
            self._rle_chars += len(counts)
            self._rows.append(
                (
                    frame.index,
                    frame.time_s,
                    item.object_id,
                    item.prompt,
                    item.score,
                    item.detection_score,
                    *item.box,
                    counts,
                    height,
                    width,
                )
            )
        if len(self._rows) >= GROUP_ROWS or self._rle_chars >= GROUP_RLE_CHARS:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def abort(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._path.unlink(missing_ok=True)

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._rows.clear()
        self._rle_chars = 0
