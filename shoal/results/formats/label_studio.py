"""Label Studio: a task with a prediction, one tracked rectangle per object.

https://labelstud.io/tags/videorectangle, for a configuration with ``<Video name="video">``,
``<Labels name="label" toName="video">`` and ``<VideoRectangle name="box" toName="video">``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shoal.results.formats.tables import Row, Tables


def write(tables: Tables, path: Path) -> None:
    """Write a list of one task. Frames count from 1, boxes are in percent of the video."""
    with path.open("w") as file:
        file.write(f'[{{"data": {json.dumps({"video": tables.uri})},\n')
        file.write('"predictions": [{"model_version": "shoal", "result": [')
        for position, (object_id, rows) in enumerate(tables.by_object()):
            file.write(",\n" * bool(position) + json.dumps(_track(tables, object_id, rows)))
        file.write("]}]}]\n")


def _track(tables: Tables, object_id: int, rows: list[Row]) -> dict[str, Any]:
    return {
        "id": f"object-{object_id}",
        "from_name": "box",
        "to_name": "video",
        "type": "videorectangle",
        "score": round(sum(row.score for row in rows) / len(rows), 6),
        "value": {
            "framesCount": int(tables.indices[-1]) + 1,
            "duration": round(tables.duration_s, 6),
            "labels": [rows[0].prompt],
            "sequence": list(_sequence(tables, rows)),
        },
    }


def _sequence(tables: Tables, rows: list[Row]) -> Iterator[dict[str, Any]]:
    """Keyframes; the rectangle is interpolated from one that is enabled to the next."""
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        x, y, w, h = row.xywh
        goes_on = following is not None and (
            tables.position(following.frame) == tables.position(row.frame) + 1
        )
        yield {
            "frame": row.frame + 1,
            "time": round(row.time_s, 6),
            "enabled": goes_on,
            "rotation": 0,
            "x": round(100 * x / tables.width, 4),
            "y": round(100 * y / tables.height, 4),
            "width": round(100 * w / tables.width, 4),
            "height": round(100 * h / tables.height, 4),
        }
