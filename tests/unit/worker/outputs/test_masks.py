"""The table of masks."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs import masks
from worker.outputs.masks import COLUMNS, MasksSink
from worker.video.frame import Frame, VideoInfo

VIDEO = VideoInfo(width=64, height=48, fps=10, duration_s=1, frames=10, codec="h264")


def frame(index: int) -> Frame:
    return Frame(index, index / 10, av.VideoFrame(64, 48, "yuv420p"), wanted=True)


def ball(number: int, prompt: str = "ball") -> ObjectResult:
    """Number 1 was detected, the others were not."""
    box = (4.5, 6.0, 14.0, 16.25)
    mask = Mask(4, 6, np.ones((10, 10), np.uint8))
    return ObjectResult(number, prompt, 0.75, box, mask, 0.5 if number == 1 else None)


def test_a_row_per_object(tmp_path: Path) -> None:
    sink = MasksSink(tmp_path / "masks.parquet", VIDEO)
    sink.write(frame(0), FrameResult(0, [ball(1), ball(2, "café")]))
    sink.write(frame(5), FrameResult(5, []))
    sink.write(frame(7), FrameResult(7, [ball(1)]))
    sink.close()
    table = pq.read_table(tmp_path / "masks.parquet")
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert [(row["frame"], row["object_id"], row["prompt"]) for row in rows] == [
        (0, 1, "ball"),
        (0, 2, "café"),
        (7, 1, "ball"),
    ]
    first = rows[0]
    assert (first["time_s"], rows[2]["time_s"], first["score"]) == (0.0, 0.7, 0.75)
    assert [first[f"box_{side}"] for side in ("x0", "y0", "x1", "y1")] == [4.5, 6.0, 14.0, 16.25]
    assert (first["detection_score"], rows[1]["detection_score"]) == (0.5, None)
    decoded = coco.decode({"size": [first["height"], first["width"]], "counts": first["rle"]})
    assert np.array_equal(decoded, ball(1).mask.to_full(48, 64))


def test_a_video_without_objects_is_a_table_without_rows(tmp_path: Path) -> None:
    sink = MasksSink(tmp_path / "masks.parquet", VIDEO)
    sink.write(frame(0), FrameResult(0, []))
    sink.close()
    table = pq.read_table(tmp_path / "masks.parquet")
    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))


@pytest.mark.parametrize(("limit", "value"), [("GROUP_ROWS", 3), ("GROUP_RLE_CHARS", 20)])
def test_rows_are_written_while_the_video_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(masks, limit, value)
    sink = MasksSink(tmp_path / "masks.parquet", VIDEO)
    for index in range(20):
        sink.write(frame(index), FrameResult(index, [ball(1)]))
    sink.close()
    file = pq.ParquetFile(tmp_path / "masks.parquet")
    assert file.metadata.num_row_groups > 3
    assert file.read()["frame"].to_pylist() == list(range(20))
    assert set(file.read()["prompt"].to_pylist()) == {"ball"}


def test_what_is_given_up_leaves_no_file(tmp_path: Path) -> None:
    sink = MasksSink(tmp_path / "masks.parquet", VIDEO)
    sink.write(frame(0), FrameResult(0, [ball(1)]))
    sink.abort()
    assert not any(tmp_path.iterdir())
    sink.abort()
