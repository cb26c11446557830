"""The index in a zip of crops: what each picture is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from zipfile import ZipFile, ZipInfo

from shoal.model.outputs import CROPS_INDEX

# One crop per object in so many seconds, so that the best are not one moment again and again.
MOMENT_S = 1.0


@dataclass(frozen=True, slots=True)
class Crop:
    """One picture, as the index lists it.

    Attributes:
        time_s: since the source's first frame.
        score: the tracker's, 0 to 1.
        sharpness: see ``worker.outputs.crops.sharpness_of``.
        area: of the mask, in pixels.
        quality: what the best are chosen by: sharpness times the square root of the area times
            the share of the mask's box that the mask fills.
        box: x0, y0, x1, y1 of the crop in the frame, in whole pixels.
        image, mask: names in the zip: a JPEG, and a PNG of the same size with 255 inside.
    """

    object_id: int
    prompt: str
    frame: int
    time_s: float
    score: float
    sharpness: float
    area: int
    quality: float
    box: tuple[int, int, int, int]
    image: str
    mask: str

    @property
    def moment(self) -> tuple[int, int]:
        """Of the crops with the same one, the best is kept."""
        return self.object_id, math.floor(self.time_s / MOMENT_S)

    @property
    def order(self) -> tuple[float, int]:
        """The best first."""
        return -self.quality, self.frame


def read_index(archive: ZipFile) -> list[Crop]:
    """What is in a zip of crops: by object, the best first."""
    return [
        Crop(**fields | {"box": tuple(fields["box"])})
        for fields in json.loads(archive.read(CROPS_INDEX))
    ]


def write_index(archive: ZipFile, crops: Iterable[Crop]) -> list[Crop]:
    """Write the index of crops and return them in its order."""
    listed = sorted(crops, key=lambda crop: (crop.object_id, crop.order))
    archive.writestr(
        ZipInfo(CROPS_INDEX), json.dumps([asdict(crop) for crop in listed], indent=1) + "\n"
    )
    return listed
