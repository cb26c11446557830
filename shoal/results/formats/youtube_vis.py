"""YouTube-VIS: one annotation per track, with a COCO RLE or null for each written frame.

https://youtube-vos.org/dataset/vis/, as the evaluation code of the challenge reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shoal.results.formats.coco import categories
from shoal.results.formats.json_stream import write_object
from shoal.results.formats.tables import Row, Tables, areas


def write(tables: Tables, path: Path) -> None:
    """Write the file, which has one video."""
    indices = tables.indices.tolist()
    video = {
        "id": 1,
        "width": tables.width,
        "height": tables.height,
        "length": len(indices),
        "file_names": [f"{tables.stem}/{name}" for name in tables.file_names],
        "frames": indices,
    }
    write_object(
        path,
        {
            "info": {"description": tables.stem},
            "licenses": [],
            "categories": categories(tables),
            "videos": [video],
        },
        {"annotations": _annotations(tables)},
    )


def _annotations(tables: Tables) -> Iterator[dict[str, Any]]:
    for object_id, rows in tables.by_object():
        yield _annotation(tables, object_id, rows)


def _annotation(tables: Tables, object_id: int, rows: list[Row]) -> dict[str, Any]:
    length = len(tables.indices)
    segmentations: list[dict[str, Any] | None] = [None] * length
    bboxes: list[tuple[float, ...] | None] = [None] * length
    sizes: list[int | None] = [None] * length
    for row, area in zip(rows, areas(rows), strict=True):
        at = tables.position(row.frame)
        segmentations[at], bboxes[at], sizes[at] = row.coco_rle, row.xywh, area
    return {
        "id": object_id,
        "video_id": 1,
        "category_id": tables.categories[rows[0].prompt],
        "score": round(sum(row.score for row in rows) / len(rows), 6),
        "iscrowd": 0,
        "width": tables.width,
        "height": tables.height,
        "length": length,
        "segmentations": segmentations,
        "bboxes": bboxes,
        "areas": sizes,
    }
