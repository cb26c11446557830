"""Where scenes begin, from how light and colours of whole frames change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from worker.predictors.base import FrameResult
from worker.sinks.table import TableSink
from worker.video.frame import Frame
from worker.video.planes import planes

BINS = (32, 16, 16)  # of the histograms of luma and both chroma planes
STEP = 4  # pixels between those that are counted
SCALE = 65535  # a share of all pixels is kept as a 16 bit number
GROUP_ROWS = 5_000
SCHEMA = pa.schema({"light": pa.binary(2 * sum(BINS))})

# A scene begins where at least this share of the pixels is of other bins than on the frame before,
# and twice that of the frames around: when all of them change, the camera moves.
MIN_CHANGE = 0.12
TIMES_AROUND = 2.0
AROUND = 4  # frames on either side


class LightSink(TableSink):
    """Parquet with one row per frame: its histograms, from which no picture can be made."""

    name = "light"
    schema = SCHEMA

    def write(self, frame: Frame, result: FrameResult) -> None:
        shares = []
        for plane, bins in zip(planes(frame.picture), BINS, strict=True):
            levels = plane[::STEP, ::STEP] // (256 // bins)
            counts = np.bincount(levels.ravel(), minlength=bins)
            shares.append(counts / counts.sum())
        light = np.round(np.concatenate(shares) * SCALE).astype("<u2").tobytes()
        self._rows.append((light,))
        if len(self._rows) >= GROUP_ROWS:
            self.flush()


def scene_starts(path: Path) -> NDArray[np.bool_]:
    """Whether a scene begins with each frame of a table of ``LightSink``: (frames,).

    The first one counts.
    """
    changes = [np.zeros(1)]
    last: NDArray[np.float64] | None = None
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(GROUP_ROWS):
            raw = b"".join(row["light"] for row in batch.to_pylist())
            light = np.frombuffer(raw, "<u2").reshape(-1, sum(BINS)) / SCALE
            light = light if last is None else np.concatenate((last[None], light))
            last = light[-1]
            moved = np.abs(np.diff(light, axis=0)).sum(axis=1) / 2
            changes.append(moved / len(BINS))
    return _borders(np.concatenate(changes))


def _borders(change: NDArray[np.float64]) -> NDArray[np.bool_]:
    """From the share of pixels that changed since the frame before."""
    padded = np.pad(change, AROUND)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1).copy()
    windows[:, AROUND] = 0.0
    starts: NDArray[np.bool_] = change >= np.maximum(MIN_CHANGE, TIMES_AROUND * windows.max(axis=1))
    starts[:1] = True
    return starts
