"""YOLO segmentation: a text file of polygons per written frame, in a ZIP with ``data.yaml``.

https://docs.ultralytics.com/datasets/segment/: a line per object, its class and the points of its
polygon, as shares of width and height.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from shoal.results.formats.polygons import joined, rings
from shoal.results.formats.tables import Row, Tables


def write(tables: Tables, path: Path) -> None:
    """Write the ZIP: ``data.yaml``, and ``labels/train/NAME.txt`` for ``images/train/NAME.jpg``.

    Frames without objects have an empty file: they are examples, too.
    """
    names = dict(zip(tables.indices.tolist(), tables.file_names, strict=True))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_entry("data.yaml"), _description(tables))
        for index, _, rows in tables.by_frame():
            label = PurePosixPath("labels/train", names[index]).with_suffix(".txt")
            archive.writestr(_entry(str(label)), "".join(_line(tables, row) for row in rows))


def _entry(name: str) -> zipfile.ZipInfo:
    """Without the time of writing: the same masks make the same file."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _description(tables: Tables) -> str:
    """YAML; a string of JSON is one of YAML."""
    lines = ["path: .", "train: images/train", "val: images/train", "names:"]
    lines += [f"  {number}: {json.dumps(label)}" for number, label in enumerate(tables.labels)]
    return "\n".join(lines) + "\n"


def _line(tables: Tables, row: Row) -> str:
    """Empty for an empty mask."""
    parts = rings(row)
    if not parts:
        return ""
    points = np.clip(joined(parts) / (tables.width, tables.height), 0, 1)
    numbers = " ".join(f"{value:.6f}" for value in points.ravel())
    return f"{tables.categories[row.prompt] - 1} {numbers}\n"
