"""COCO instances: an image per written frame, an annotation per object on it.

https://cocodataset.org/#format-data, with ``track_id`` and ``score`` besides; CVAT and Datumaro
look for the first among ``attributes``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shoal.results.formats.json_stream import write_object
from shoal.results.formats.tables import Tables, areas


def write(tables: Tables, path: Path) -> None:
    """Write the file; ``image_id`` is the frame's number in the source.

    File names are those of the folder, where that is the source; else they carry the number, too.
    """
    write_object(
        path,
        {
            "info": {"description": tables.stem},
            "licenses": [],
            "categories": categories(tables),
        },
        {"images": _images(tables), "annotations": _annotations(tables)},
    )


def categories(tables: Tables) -> list[dict[str, Any]]:
    """The labels, numbered from 1 in the job's order."""
    return [
        {"id": number, "name": label, "supercategory": ""}
        for label, number in tables.categories.items()
    ]


def _images(tables: Tables) -> Iterator[dict[str, Any]]:
    frames = tables.indices.tolist(), tables.times.tolist(), tables.file_names
    for index, time_s, name in zip(*frames, strict=True):
        yield {
            "id": index,
            "file_name": name,
            "width": tables.width,
            "height": tables.height,
            "time_s": round(time_s, 6),
        }


def _annotations(tables: Tables) -> Iterator[dict[str, Any]]:
    number = 0
    for batch in tables.batches():
        for row, area in zip(batch, areas(batch), strict=True):
            number += 1
            yield {
                "id": number,
                "image_id": row.frame,
                "category_id": tables.categories[row.prompt],
                "track_id": row.object_id,
                "score": round(row.score, 6),
                "bbox": row.xywh,
                "area": area,
                "segmentation": row.coco_rle,
                "iscrowd": 0,
                "attributes": {"track_id": row.object_id},
            }
