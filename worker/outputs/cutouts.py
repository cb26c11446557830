"""Each object cut out of its video: a transparent WebM of its own.

The picture is as large as the object ever gets and follows it; where it lay is told beside it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
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
from pydantic import BaseModel

from shoal.model.outputs import WebmAlpha
from shoal.results.formats.tables import Tables
from worker.engines.base import FrameResult, ObjectResult
from worker.outputs.base import Made, Notes, NotesFile, Output, Stream, StreamNeeds
from worker.video.encode import add_copy
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

    def write(self, frame: Frame, item: ObjectResult | None) -> tuple[int, int] | None:
        """Add a frame; one without the object is transparent.

        Returns:
            x and y of the picture's top left corner in the frame, which may lie outside of it.
        """
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

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._container.close()


class CutoutsSink:
    """A zip with the videos of all objects, an index and where each picture lay.

    Only the objects between their first and last frame have an encoder at a time.
    """

    name = "webm-alpha"

    def __init__(self, path: Path, notes: Path) -> None:
        """
        Args:
            path: where to write the zip.
            notes: of the whole video, see ``NOTES``.
        """
        known = CutoutNotes.model_validate_json(notes.read_bytes())
        self._path = path
        self._fps = known.fps
        self._planned = {each.object_id: each for each in known.cutouts}
        self._hidden = {each: set(frames) for each, frames in known.hidden.items()}
        self._folder = path.with_name(path.name + ".videos")
        self._folder.mkdir()
        self._running: dict[int, _Video] = {}
        self._archive = ZipFile(path, "w", ZIP_STORED)
        self._places = (self._folder / PLACES).open("w", newline="")
        self._table = csv.writer(self._places)
        self._table.writerow(("object_id", "frame", "time_s", "x", "y"))

    def write(self, frame: Frame, result: FrameResult) -> None:
        found = {item.object_id: item for item in result.objects}
        seen = found.keys() & self._planned.keys()
        gone = {each for each, frames in self._hidden.items() if frame.index in frames}
        for object_id in sorted(seen | gone):
            if object_id not in self._running:
                planned = self._planned[object_id]
                self._running[object_id] = _Video(planned, self._folder, self._fps)
            video = self._running[object_id]
            place = video.write(frame, found.get(object_id))
            if place:
                self._table.writerow((object_id, frame.index, round(frame.time_s, 6), *place))
            if frame.index == video.cutout.last_frame:
                self._end(object_id)

    def close(self) -> None:
        for object_id in sorted(self._running):
            self._end(object_id)
        self._places.close()
        _close(self._archive, self._planned.values(), self._folder / PLACES)
        self._folder.rmdir()

    def abort(self) -> None:
        self._archive.close()
        self._places.close()
        for video in self._running.values():
            video.abort()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._path.unlink(missing_ok=True)

    def _end(self, object_id: int) -> None:
        video = self._running.pop(object_id)
        video.close()
        _move(video.path, self._archive, ZIP_STORED)


def join_cutouts(parts: Sequence[Path], path: Path) -> None:
    """One zip of several that ``CutoutsSink`` wrote by the same notes.

    Raises:
        OSError: the disk is full.
    """
    folder = path.with_name(path.name + ".videos")
    folder.mkdir()
    with ExitStack() as stack:
        archives = [stack.enter_context(ZipFile(part)) for part in parts]
        planned = [Cutout(**each) for each in json.loads(archives[0].read(INDEX))]
        whole = stack.enter_context(ZipFile(path, "w", ZIP_STORED))
        for cutout in sorted(planned, key=lambda each: (each.last_frame, each.object_id)):
            pieces = []
            for number, archive in enumerate(archives):
                if cutout.file in archive.namelist():
                    pieces.append(folder / f"{number}-{cutout.file}")
                    with archive.open(cutout.file) as source, pieces[-1].open("wb") as target:
                        shutil.copyfileobj(source, target)
            joined = folder / cutout.file
            _join_videos(pieces, joined)
            _move(joined, whole, ZIP_STORED)
        places = folder / PLACES
        with places.open("wb") as table:
            for number, archive in enumerate(archives):
                header, _, rows = archive.read(PLACES).partition(b"\n")
                table.write(rows if number else header + b"\n" + rows)
        _close(whole, planned, places)
    folder.rmdir()


def _join_videos(pieces: Sequence[Path], path: Path) -> None:
    """One WebM of several of an object, which go when it is written."""
    with av.open(f"file:{path}", "w", format="webm", options=WEBM_OPTIONS) as joined:
        stream = None
        for piece in pieces:
            with av.open(f"file:{piece}") as container:
                source = container.streams.video[0]
                stream = stream or add_copy(joined, source)
                for packet in container.demux(source):
                    if packet.dts is not None:
                        packet.stream = stream
                        joined.mux(packet)
            piece.unlink()


def _close(archive: ZipFile, cutouts: Iterable[Cutout], places: Path) -> None:
    """Add index and places, and close."""
    index = json.dumps([asdict(each) for each in cutouts], indent=1)
    archive.writestr(ZipInfo(INDEX), index + "\n")
    _move(places, archive, ZIP_DEFLATED)
    archive.close()


class CutoutNotes(BaseModel):
    """What the videos of objects are, of all frames.

    Attributes:
        fps: written frames per second.
        hidden: by object, the written frames between its first and last on which it is not, each
            after one on which it is.
    """

    fps: float
    cutouts: list[Cutout]
    hidden: dict[int, list[int]]


def plan(tables: Tables) -> CutoutNotes:
    """Each object's video, by object ID. One whose masks are all empty has none."""
    found: dict[int, dict[str, Any]] = {}
    hidden: dict[int, list[int]] = {}
    shown: set[int] = set()  # on the frame before
    for frame, _, rows in tables.by_frame():
        for each in shown - {row.object_id for row in rows}:
            hidden.setdefault(each, []).append(frame)
        shown = {row.object_id for row in rows}
        for row in rows:
            _, _, w, h = row.window
            if not w:
                continue
            one = found.setdefault(
                row.object_id,
                {"prompt": row.prompt, "first": row, "last": row, "width": 0, "height": 0},
            )
            one["last"] = row
            one["width"], one["height"] = max(one["width"], w), max(one["height"], h)
    cutouts = [
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
    spans = {each.object_id: (each.first_frame, each.last_frame) for each in cutouts}
    away = {
        each: [frame for frame in frames if spans[each][0] < frame < spans[each][1]]
        for each, frames in hidden.items()
        if each in spans
    }
    return CutoutNotes(fps=tables.fps, cutouts=cutouts, hidden=away)


def _write_notes(tables: Tables, files: Mapping[str, Path], stretches: Sequence[NotesFile]) -> None:
    content = plan(tables).model_dump_json()
    for stretch in stretches:
        stretch.path.write_text(content)


NOTES = Notes("cutouts.json", _write_notes)


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


class CutoutsOutput(Output[WebmAlpha]):
    """The zip of cut-outs, drawn when each object's size is known."""

    @property
    def is_rendered(self) -> bool:
        return True

    @classmethod
    def notes(cls, options: WebmAlpha) -> Notes:
        return NOTES

    def streams(self) -> Sequence[Stream]:
        notes = self.scene.folder / NOTES.piece
        return [
            Stream(
                "webm-alpha",
                "cutouts.zip",
                lambda path: CutoutsSink(path, notes),
                join_cutouts,
                StreamNeeds.VIDEO,
            )
        ]

    def finish(self, made: Made, path: Path) -> Path:
        [pictures] = self.streams()
        return made.rendered(pictures, NOTES)
