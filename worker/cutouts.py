"""Each object cut out of its video: a transparent WebM of its own.

The picture is as large as the object ever gets and follows it; where it lay is told beside it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from shoal.formats.tables import Tables
from worker.predictors.base import FrameResult, ObjectResult
from worker.video.frame import Frame
from worker.video.planes import copy_tags, planes

INDEX, PLACES = "cutouts.json", "places.csv"
TIME_BASE = Fraction(1, 1000)  # WebM's
WEBM_OPTIONS = {"fflags": "+bitexact"}  # no random id: the same video makes the same file
OPTIONS = {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0", "threads": "1"}
HALO = 4  # pixels around the mask that keep their colour, so that no dark seam shows
BLACK, GREY = 16, 128


@dataclass(frozen=True, slots=True)
class Cutout:
    """One object's video, as the index lists it.

    Attributes:
        file: its name in the zip.
        width, height: of the video, in pixels.
        first_frame, last_frame: in the source.
        start_s: time of the first frame in the source; the video begins at 0.
    """

    object_id: int
    prompt: str
    file: str
    width: int
    height: int
    first_frame: int
    last_frame: int
    start_s: float


class _Video:
    """Writes one of them."""

    def __init__(self, cutout: Cutout, folder: Path, fps: float) -> None:
        self.cutout = cutout
        self.path = folder / cutout.file
        self._container: OutputContainer = av.open(
            f"file:{self.path}", "w", format="webm", options=WEBM_OPTIONS
        )
        rate = Fraction(fps).limit_denominator(1001) if fps >= 0.01 else Fraction(1)
        self._stream: VideoStream = self._container.add_stream(
            "libvpx-vp9", rate=rate, options=OPTIONS, width=cutout.width, height=cutout.height
        )
        self._stream.pix_fmt = "yuva420p"
        self._stream.codec_context.time_base = TIME_BASE
        self._is_shown = True

    def write(self, frame: Frame, item: ObjectResult | None) -> tuple[int, int] | None:
        """Add a frame; one without the object is transparent, and written once.

        Returns:
            x and y of the picture's top left corner in the frame, which may lie outside of it.
        """
        if item is None and not self._is_shown:
            return None
        self._is_shown = item is not None
        picture, place = _picture(frame, item, self.cutout)
        if self._stream.codec_context.colorspace != frame.picture.colorspace:
            self._stream.codec_context.colorspace = frame.picture.colorspace
            self._stream.codec_context.color_range = frame.picture.color_range
        picture.pts = round((frame.time_s - self.cutout.start_s) / TIME_BASE)
        picture.time_base = TIME_BASE
        self._container.mux(self._stream.encode(picture))
        return place

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def write_cutouts(
    frames: Iterator[tuple[Frame, FrameResult]], tables: Tables, path: Path, folder: Path
) -> None:
    """Write a zip of all objects, an index and where each picture lay.

    Only the objects between their first and last frame have an encoder at a time.

    Args:
        frames: the written ones with their results, in order.
        folder: for the videos, until they are in the zip.

    Raises:
        OSError: the disk is full.
    """
    planned = {each.object_id: each for each in plan(tables)}
    running: dict[int, _Video] = {}
    places = folder / PLACES
    with ZipFile(path, "w", ZIP_STORED) as archive, places.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("object_id", "frame", "time_s", "x", "y"))
        for frame, result in frames:
            found = {item.object_id: item for item in result.objects}
            for object_id in found.keys() & planned.keys() - running.keys():
                running[object_id] = _Video(planned[object_id], folder, tables.fps)
            for object_id, video in sorted(running.items()):
                place = video.write(frame, found.get(object_id))
                if place:
                    table.writerow((object_id, frame.index, round(frame.time_s, 6), *place))
                if frame.index == video.cutout.last_frame:
                    video.close()
                    del running[object_id]
                    _move(video.path, archive, ZIP_STORED)
        index = json.dumps([asdict(each) for each in planned.values()], indent=1)
        archive.writestr(ZipInfo(INDEX), index + "\n")
    with ZipFile(path, "a") as archive:
        _move(places, archive, ZIP_DEFLATED)


def plan(tables: Tables) -> list[Cutout]:
    """Each object's video, by object id. One whose masks are all empty has none."""
    found: dict[int, dict[str, Any]] = {}
    for row in tables.rows():
        _, _, w, h = row.window
        if not w:
            continue
        one = found.setdefault(
            row.object_id,
            {"prompt": row.prompt, "first": row, "last": row, "width": 0, "height": 0},
        )
        one["last"] = row
        one["width"], one["height"] = max(one["width"], w), max(one["height"], h)
    return [
        Cutout(
            object_id=object_id,
            prompt=one["prompt"],
            file=f"{object_id:07}.webm",
            width=_room(one["width"]),
            height=_room(one["height"]),
            first_frame=one["first"].frame,
            last_frame=one["last"].frame,
            start_s=round(one["first"].time_s, 6),
        )
        for object_id, one in sorted(found.items())
    ]


def _room(size: int) -> int:
    """Even, with room for the halo and for being moved to an even place."""
    return max(16, (size + 2 * HALO + 3) // 2 * 2)


def _picture(
    frame: Frame, item: ObjectResult | None, cutout: Cutout
) -> tuple[av.VideoFrame, tuple[int, int] | None]:
    """The object in the middle of its picture, and where that lies in the frame."""
    picture = av.VideoFrame(cutout.width, cutout.height, "yuva420p")
    copy_tags(frame.picture, picture)
    targets = [_view(plane) for plane in picture.planes]
    for target, value in zip(targets, (BLACK, GREY, GREY, 0), strict=True):
        target[:] = value
    if item is None or not item.mask.bits.size:
        return picture, None
    mask = item.mask
    h, w = mask.bits.shape
    left = (mask.x + w // 2 - cutout.width // 2) // 2 * 2
    top = (mask.y + h // 2 - cutout.height // 2) // 2 * 2
    bits = np.zeros((cutout.height, cutout.width), np.uint8)
    bits[mask.y - top : mask.y - top + h, mask.x - left : mask.x - left + w] = mask.bits
    kept = np.asarray(cv2.dilate(bits, np.ones((2 * HALO + 1, 2 * HALO + 1), np.uint8)))
    targets[3][:] = 255 * bits
    for target, source, step in zip(targets, planes(frame.picture), (1, 2, 2), strict=False):
        x, y = max(0, left) // step, max(0, top) // step
        bottom = min(source.shape[0], top // step + target.shape[0])
        right = min(source.shape[1], left // step + target.shape[1])
        rows = slice(y - top // step, bottom - top // step)
        columns = slice(x - left // step, right - left // step)
        seen = kept[::step, ::step][rows, columns] > 0
        np.copyto(target[rows, columns], source[y:bottom, x:right], where=seen)
    return picture, (left, top)


def _view(plane: av.video.plane.VideoPlane) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _move(path: Path, archive: ZipFile, how: int) -> None:
    """Into the zip, without the time of writing, and away from the folder."""
    entry = ZipInfo(path.name)
    entry.compress_type = how
    with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
    path.unlink()
