"""A zip of indexed PNGs: one per written frame, the pixel's value says whose it is.

As DAVIS and YouTube-VOS have them: https://davischallenge.org. A video with more than 255 objects
gets 16-bit greyscale instead of a palette.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shoal.results.formats.tables import Row, Tables, areas

MAX_PALETTE = 255
LEVEL = 1  # of deflate: masks are flat, more gains little


def write(tables: Tables, path: Path) -> None:
    """Write the zip; ``objects.json`` in it tells the object of each value.

    Where masks overlap the smaller one is on top, so that it loses nothing.
    """
    ids = tables.object_prompts()
    values = {object_id: number for number, object_id in enumerate(sorted(ids), 1)}
    kind = np.uint8 if len(values) <= MAX_PALETTE else np.uint16
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for index, _, rows in tables.by_frame():
            picture = np.zeros((tables.height, tables.width), kind)
            _paint(picture, rows, values)
            archive.writestr(_entry(f"{index:06}.png"), _encoded(picture))
        listed = [
            {"value": value, "object_id": object_id, "prompt": ids[object_id]}
            for object_id, value in values.items()
        ]
        archive.writestr(_entry("objects.json"), json.dumps(listed, indent=1) + "\n")


def _paint(picture: NDArray[np.generic], rows: list[Row], values: dict[int, int]) -> None:
    largest_first = sorted(zip(areas(rows), rows, strict=True), key=lambda each: -each[0])
    for _, row in largest_first:
        x, y, w, h = row.window
        window = picture[y : y + h, x : x + w]
        window[row.mask()[y : y + h, x : x + w] > 0] = values[row.object_id]


def _encoded(picture: NDArray[np.generic]) -> bytes:
    image = Image.fromarray(picture)
    if picture.dtype == np.uint8:
        image = image.convert("P")
        image.putpalette(PALETTE)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=LEVEL)
    return file.getvalue()


def _entry(name: str) -> ZipInfo:
    """Without the time of writing: the same masks make the same file."""
    return ZipInfo(name)


def _palette() -> list[int]:
    """The usual one of PASCAL VOC and DAVIS: the bits of the value, spread over the colours."""
    return [
        sum((value >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
        for value in range(256)
        for channel in range(3)
    ]


PALETTE = _palette()
