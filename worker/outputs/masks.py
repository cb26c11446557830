"""The masks as a table: one row per object and written frame, in Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from shoal.model.outputs import Masks
from worker.engines.base import FrameResult
from worker.outputs import rle
from worker.outputs.base import Made, Output
from worker.outputs.table import TableSink
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

# A row group is written when it holds this much.
GROUP_ROWS = 5_000
GROUP_RLE_CHARS = 2 << 20


class MasksSink(TableSink):
    """Parquet with the columns of ``COLUMNS``.

    ``pycocotools.mask.decode({"size": [height, width], "counts": rle})`` gives a row's mask.
    """

    name = "masks"
    schema = SCHEMA

    def __init__(self, path: Path, video: VideoInfo) -> None:
        """``path`` is written to from the first group on; ``video`` is the source."""
        super().__init__(path)
        self._size = video.height, video.width
        self._rle_chars = 0

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
            self.flush()

    def flush(self) -> None:
        super().flush()
        self._rle_chars = 0


class MasksOutput(Output[Masks]):
    """The joined table as it is."""

    def finish(self, made: Made, path: Path) -> Path:
        return made.files["masks"]
