"""Where the scenes of a video begin, from what is noted of each frame as it is tracked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from worker.engines.base import FrameResult
from worker.outputs.table import TableSink
from worker.video.frame import Frame
from worker.video.scenes import BINS, CutDetector, light_of

GROUP_ROWS = 5_000
SCHEMA = pa.schema({"light": pa.binary(2 * sum(BINS))})


class LightSink(TableSink):
    """Parquet with one row per frame: its histograms, from which no picture can be made."""

    name = "light"
    schema = SCHEMA

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._rows.append((light_of(frame.picture).tobytes(),))
        if len(self._rows) >= GROUP_ROWS:
            self.flush()


def scene_starts(path: Path) -> NDArray[np.bool_]:
    """Whether a scene begins with each frame of a table of ``LightSink``: (frames,).

    The first one counts.
    """
    detector = CutDetector()
    starts: list[bool] = []
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(GROUP_ROWS):
            for row in batch.to_pylist():
                starts += detector.add(np.frombuffer(row["light"], "<u2"))
    starts += detector.finish()
    starts[:1] = [True] * len(starts[:1])
    return np.array(starts, bool)
