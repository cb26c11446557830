"""The crops of a job at a glance: a row of pictures per object."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.outputs.crop_index import Crop, read_index

Picture = NDArray[np.uint8]

TILE = 160  # pixels, square
CAPTION = 22
MAX_OBJECTS = 60
MAX_TILES = 8  # of an object
# Blue first. Dark paper is at home on light and on dark pages.
PAPER, INK = (37, 33, 26), (236, 233, 228)


def write_contact_sheet(crops: Path, path: Path) -> None:
    """Make a JPEG of a zip of crops: the best of the first objects, each row captioned.

    Raises:
        OSError: the disk is full.
    """
    with ZipFile(crops) as archive:
        objects = [list(each) for _, each in groupby(read_index(archive), lambda c: c.object_id)]
        shown = [each[:MAX_TILES] for each in objects[:MAX_OBJECTS]]
        width = TILE * max((len(each) for each in shown), default=1)
        sheet = [_row(archive, each, width) for each in shown] or [_blank(TILE, width)]
    done, data = cv2.imencode(".jpg", np.concatenate(sheet))
    assert done
    path.write_bytes(data.tobytes())


def _row(archive: ZipFile, crops: list[Crop], width: int) -> Picture:
    row = _blank(CAPTION + TILE, width)
    first = crops[0]
    prompt = first.prompt if first.prompt.isascii() else ""  # the font has no other letters
    caption = f"{prompt} #{first.object_id}".strip()
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(row, caption, (4, CAPTION - 7), font, 0.45, INK, 1, cv2.LINE_AA)
    for number, crop in enumerate(crops):
        data = np.frombuffer(archive.read(crop.image), np.uint8)
        picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        tile = _fitted(picture)
        h, w = tile.shape[:2]
        x = number * TILE + (TILE - w) // 2
        y = CAPTION + (TILE - h) // 2
        row[y : y + h, x : x + w] = tile
    return row


def _fitted(picture: Picture) -> Picture:
    """As large as a tile with a border allows, at most as large as it is."""
    h, w = picture.shape[:2]
    scale = min(1.0, (TILE - 6) / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), PAPER, np.uint8)
