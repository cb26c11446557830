"""The best pictures of each object, with masks: for review, re-identification and training."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import cv2
import numpy as np
from numpy.typing import NDArray

from shoal.model.outputs import Crops
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs.base import Made, Output, Stream
from worker.outputs.contact_sheet import write_contact_sheet
from worker.outputs.crop_index import Crop, read_index, write_index
from worker.video.frame import Frame
from worker.video.planes import cut, planes

MARGIN = 0.1  # of the object's size, around its mask
MIN_SIDE = 16  # pixels; what is smaller shows nothing
SHARP_SIDE = 128  # sharpness is told at this size, so that large objects are not always sharper
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


class _Window(NamedTuple):
    """Part of a frame, in pixels; left and top are even."""

    x0: int
    y0: int
    x1: int
    y1: int


class CropsSink:
    """A zip with the best pictures of each object and an index, ``crops.json``.

    What it keeps of two stretches of video is what it would keep of both together, so that parts
    can be joined: see ``join_crops``. Pictures lie on the disk until then.
    """

    name = "crops"

    def __init__(self, path: Path, per_object: int) -> None:
        """
        Args:
            path: where to write the zip.
            per_object: at most so many pictures of each object.
        """
        self._path = path
        self._per_object = per_object
        self._folder = path.with_name(path.name + ".pictures")
        self._folder.mkdir()
        self._kept: dict[int, dict[tuple[int, int], Crop]] = {}  # by object and moment

    def write(self, frame: Frame, result: FrameResult) -> None:
        for item in result.objects:
            if min(item.mask.bits.shape) >= MIN_SIDE:
                self._consider(frame, item)

    def close(self) -> None:
        crops = [crop for kept in self._kept.values() for crop in kept.values()]
        with ZipFile(self._path, "w", ZIP_STORED) as archive:
            for crop in write_index(archive, crops):
                for name in (crop.image, crop.mask):
                    archive.writestr(ZipInfo(name), (self._folder / Path(name).name).read_bytes())
        shutil.rmtree(self._folder)

    def abort(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._path.unlink(missing_ok=True)

    def _consider(self, frame: Frame, item: ObjectResult) -> None:
        kept = self._kept.setdefault(item.object_id, {})
        crop = _describe(frame, item)
        rival = kept.get(crop.moment)
        if rival is None and len(kept) == self._per_object:
            rival = max(kept.values(), key=lambda each: each.order)
        if rival is not None:
            if rival.order < crop.order:
                return
            del kept[rival.moment]
            for name in (rival.image, rival.mask):
                (self._folder / Path(name).name).unlink()
        kept[crop.moment] = crop
        self._save(frame, item.mask, crop)

    def _save(self, frame: Frame, mask: Mask, crop: Crop) -> None:
        x0, y0, x1, y1 = crop.box
        picture = cut(frame.picture, x0, y0, x1 - x0, y1 - y0).to_ndarray(format="bgr24")
        bits = np.zeros((y1 - y0, x1 - x0), np.uint8)
        h, w = mask.bits.shape
        bits[mask.y - y0 : mask.y - y0 + h, mask.x - x0 : mask.x - x0 + w] = 255 * mask.bits
        _imwrite(self._folder / Path(crop.image).name, picture, JPEG)
        _imwrite(self._folder / Path(crop.mask).name, bits, [])


def join_crops(per_object: int, parts: Sequence[Path], path: Path) -> None:
    """One zip of several that ``CropsSink`` wrote: the best of all.

    Raises:
        OSError: the disk is full.
    """
    with ExitStack() as stack:
        archives = [stack.enter_context(ZipFile(part)) for part in parts]
        best: dict[tuple[int, int], tuple[Crop, ZipFile]] = {}
        for archive in archives:
            for crop in read_index(archive):
                rival = best.get(crop.moment)
                if rival is None or crop.order < rival[0].order:
                    best[crop.moment] = crop, archive
        ranked: dict[int, list[Crop]] = {}
        for crop, _ in sorted(best.values(), key=lambda found: found[0].order):
            ranked.setdefault(crop.object_id, []).append(crop)
        kept = [crop for crops in ranked.values() for crop in crops[:per_object]]
        whole = stack.enter_context(ZipFile(path, "w", ZIP_STORED))
        for crop in write_index(whole, kept):
            for name in (crop.image, crop.mask):
                whole.writestr(ZipInfo(name), best[crop.moment][1].read(name))


def sharpness_of(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian at a fixed size, over the mask: low where an object is blurred.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000. What stands in
    front of the object or behind it does not count, nor does the outline against it: the mask is
    shrunk by the reach of the operator, unless nothing would be left.

    Args:
        grey: (height, width) of the mask's box.
        mask: (height, width), 1 inside.
    """
    scale = SHARP_SIDE / max(grey.shape)
    if scale < 1:
        size = [max(1, round(side * scale)) for side in reversed(grey.shape)]
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    inner = cv2.erode(
        mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1
    )
    inside = np.asarray(inner if inner.any() else mask, np.bool_)
    edges = cv2.Laplacian(grey, cv2.CV_32F)[inside]
    return float(edges.var()) if edges.size else 0.0


def _describe(frame: Frame, item: ObjectResult) -> Crop:
    window = _window(item.mask, frame.picture.width, frame.picture.height)
    h, w = item.mask.bits.shape
    luma = planes(frame.picture)[0][item.mask.y : item.mask.y + h, item.mask.x : item.mask.x + w]
    sharpness = sharpness_of(luma, item.mask.bits)
    area = int(item.mask.bits.sum(dtype=np.int64))
    filled = area / item.mask.bits.size
    stem = f"{item.object_id:07}-{frame.index:07}"
    return Crop(
        object_id=item.object_id,
        prompt=item.prompt,
        frame=frame.index,
        time_s=frame.time_s,
        score=round(item.score, 6),
        sharpness=round(sharpness, 3),
        area=area,
        quality=round(sharpness * math.sqrt(area) * filled, 3),
        box=(window.x0, window.y0, window.x1, window.y1),
        image=f"images/{stem}.jpg",
        mask=f"masks/{stem}.png",
    )


def _window(mask: Mask, width: int, height: int) -> _Window:
    """The mask's window with a margin, within the frame."""
    h, w = mask.bits.shape
    dx, dy = round(w * MARGIN), round(h * MARGIN)
    x0, y0 = max(0, mask.x - dx), max(0, mask.y - dy)
    return _Window(
        x0 - x0 % 2, y0 - y0 % 2, min(width, mask.x + w + dx), min(height, mask.y + h + dy)
    )


def _imwrite(path: Path, picture: NDArray[Any], options: Sequence[int]) -> None:
    """Raises OSError: the disk is full."""
    done, data = cv2.imencode(path.suffix, picture, options)
    assert done, path.suffix
    path.write_bytes(data.tobytes())


class CropsOutput(Output[Crops]):
    """The zip of crops, and the contact sheet that shows them at a glance."""

    def streams(self) -> Sequence[Stream]:
        most = self.options.per_object
        return [
            Stream(
                "crops", "crops.zip", lambda path: CropsSink(path, most), partial(join_crops, most)
            )
        ]

    def finish(self, made: Made, path: Path) -> Path:
        made.extras["crops-sheet"] = sheet = made.folder / "sheet.jpg"
        write_contact_sheet(made.files["crops"], sheet)
        return made.files["crops"]
