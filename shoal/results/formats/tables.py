"""A job's tables, masks and frames, read as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pycocotools import mask as coco

from shoal.results.layout import Metadata

BATCH_ROWS = 4096
# So much is held at a time where rows are grouped by object: their masks, and the rest of each.
HELD_BYTES = 64 << 20
ROW_BYTES = 700


class Row(NamedTuple):
    """One object on one frame: the columns of the mask table."""

    frame: int
    time_s: float
    object_id: int
    prompt: str
    score: float
    detection_score: float | None
    box_x0: float
    box_y0: float
    box_x1: float
    box_y1: float
    rle: str
    height: int
    width: int

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """The box as left, top, width and height, in pixels rounded to hundredths."""
        x, y = self.box_x0, self.box_y0
        return round(x, 2), round(y, 2), round(self.box_x1 - x, 2), round(self.box_y1 - y, 2)

    @property
    def coco_rle(self) -> dict[str, Any]:
        """The mask as pycocotools takes it."""
        return {"size": [self.height, self.width], "counts": self.rle}

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the mask's window, in pixels; 0 if it is empty."""
        x, y, w, h = coco.toBbox(self.coco_rle).astype(int).tolist()
        return x, y, w, h

    def mask(self) -> NDArray[np.uint8]:
        """(height, width) of 0 and 1."""
        return np.asarray(coco.decode(self.coco_rle), np.uint8)


@dataclass(frozen=True)
class Tables:
    """What a finished job knows of its objects.

    Only the frames are held, 16 bytes each; rows are read group by group.

    Attributes:
        masks, frames: the local Parquet files.
        labels: all prompts that objects may have, in the job's order.
        stem: the video's name without suffix.
        uri: of the video.
        width, height: of the video, in pixels.
        fps: mean written frames per second; 0 for a single frame.
        duration_s: time of the video's last frame.
    """

    masks: Path
    frames: Path
    labels: tuple[str, ...]
    stem: str
    uri: str
    width: int
    height: int
    fps: float
    duration_s: float

    @classmethod
    def of(cls, metadata: Metadata, stem: str, masks: Path, frames: Path) -> Self:
        """The tables of published results."""
        return cls(
            masks=masks,
            frames=frames,
            labels=metadata.labels,
            stem=stem,
            uri=metadata.video.uri,
            width=metadata.video.width,
            height=metadata.video.height,
            fps=metadata.output_fps,
            duration_s=metadata.video.duration_s,
        )

    @cached_property
    def _frames(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        table = pq.read_table(self.frames, columns=["frame", "time_s"])
        return table["frame"].to_numpy(), table["time_s"].to_numpy()

    @property
    def indices(self) -> NDArray[np.int64]:
        """(n,) numbers of the written frames in the source, ascending."""
        return self._frames[0]

    @property
    def times(self) -> NDArray[np.float64]:
        """(n,) seconds of the written frames since the source's first."""
        return self._frames[1]

    @cached_property
    def file_names(self) -> list[str]:
        """n names: of the pictures of a folder or tar their own, else as CVAT calls frames."""
        usual = [f"frame_{index:06}.jpg" for index in self.indices.tolist()]
        if "file_name" not in pq.read_schema(self.frames).names:  # results of an earlier release
            return usual
        own = pq.read_table(self.frames, columns=["file_name"])["file_name"].to_pylist()
        return [name or other for name, other in zip(own, usual, strict=True)]

    @property
    def categories(self) -> dict[str, int]:
        """Numbers of the labels, from 1."""
        return {label: number for number, label in enumerate(self.labels, 1)}

    def position(self, frame: int) -> int:
        """Which of the written frames has this number in the source, from 0."""
        return int(np.searchsorted(self.indices, frame))

    def batches(self) -> Iterator[list[Row]]:
        """All rows, sorted by frame, some at a time."""
        with pq.ParquetFile(self.masks) as table:
            for batch in table.iter_batches(BATCH_ROWS):
                yield [Row(*values) for values in zip(*_lists(batch), strict=True)]

    def rows(self) -> Iterator[Row]:
        """All rows, sorted by frame."""
        for batch in self.batches():
            yield from batch

    def by_frame(self) -> Iterator[tuple[int, float, list[Row]]]:
        """Number, time and rows of each written frame, also of those without objects."""
        rows = self.rows()
        row = next(rows, None)
        for index, time_s in zip(self.indices.tolist(), self.times.tolist(), strict=True):
            found = []
            while row is not None and row.frame == index:
                found.append(row)
                row = next(rows, None)
            yield index, time_s, found

    def object_prompts(self) -> dict[int, str]:
        """The prompt of each object."""
        found: dict[int, str] = {}
        with pq.ParquetFile(self.masks) as table:
            for batch in table.iter_batches(BATCH_ROWS, columns=["object_id", "prompt"]):
                ids, prompts = _lists(batch)
                found.update(zip(ids, prompts, strict=True))
        return found

    def by_object(self) -> Iterator[tuple[int, list[Row]]]:
        """Each object's id and rows, by id.

        Objects are gathered as many at a time as ``HELD_BYTES`` allow, so the table is read
        once for a usual video and some times for a long one.
        """
        sizes: dict[int, int] = {}
        for object_id, chars in self._mask_sizes():
            sizes[object_id] = sizes.get(object_id, 0) + chars + ROW_BYTES
        group: list[int] = []
        held = 0
        for object_id in sorted(sizes):
            if group and held + sizes[object_id] > HELD_BYTES:
                yield from self._gather(group)
                group, held = [], 0
            group.append(object_id)
            held += sizes[object_id]
        if group:
            yield from self._gather(group)

    def _mask_sizes(self) -> Iterator[tuple[int, int]]:
        """Object id and length of the mask of each row."""
        with pq.ParquetFile(self.masks) as table:
            for batch in table.iter_batches(BATCH_ROWS, columns=["object_id", "rle"]):
                ids, rles = _lists(batch)
                yield from zip(ids, map(len, rles), strict=True)

    def _gather(self, object_ids: Sequence[int]) -> Iterator[tuple[int, list[Row]]]:
        found: dict[int, list[Row]] = {object_id: [] for object_id in object_ids}
        for row in self.rows():
            if row.object_id in found:
                found[row.object_id].append(row)
        yield from found.items()


def _lists(batch: pa.RecordBatch) -> list[list[Any]]:
    """The columns."""
    return [column.to_pylist() for column in batch.columns]


def areas(rows: Sequence[Row]) -> list[int]:
    """How many pixels each mask has.

    One by one: pycocotools 2.0.11 cannot take more than 255 at a time, and 63 for their boxes.
    """
    return [int(coco.area(row.coco_rle)) for row in rows]
