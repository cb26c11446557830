"""The video with its objects drawn on it.

Everything is drawn in the planes of the 4:2:0 picture, and only in the windows that objects
cover: a whole frame is never converted to RGB and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shoal.colours import colour_of
from shoal.model.job import Direction
from shoal.model.outputs import Overlay
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs import trails
from worker.outputs.base import Made, Notes, NotesFile, Output, Stream, StreamNeeds, draw_all
from worker.outputs.colours import Yuv, rgb_of, to_yuv
from worker.outputs.join import join_videos
from worker.outputs.labels import Style, write_labels
from worker.outputs.second_pass import with_results
from worker.outputs.trails import TrailReader, Trails
from worker.video.encode import Encoder
from worker.video.frame import Frame, VideoInfo
from worker.video.planes import Plane, even_copy, planes
from worker.video.sound import How

Bits = NDArray[np.uint8]  # 0 or 1

USUAL = Overlay(kind="overlay")


class OverlaySink:
    """A video: each object with a translucent fill, an outline and its prompt and id.

    All objects of a prompt have the prompt's colour, which its position in the list decides
    unless the options do; with ``colour_by`` "object", each has the colour of its ID.
    """

    name = "overlay"

    def __init__(
        self,
        path: Path,
        video: VideoInfo,
        prompts: Sequence[str],
        fps: float,
        options: Overlay = USUAL,
        notes: Path | None = None,
    ) -> None:
        """Create the file.

        Args:
            path: where to write the mp4.
            video: the source.
            prompts: all of the job, in its order.
            fps: about how many frames are written per second of video.
            options: what to draw.
            notes: of ``trails``, where these are drawn.
        """
        self._keeps_hdr = options.hdr == "keep" and video.colours.is_hdr
        self._encoder = Encoder(path, video, fps, hdr=self._keeps_hdr)
        self._options = options
        self._colours = {
            prompt: rgb_of(options.colours[prompt])
            if prompt in options.colours
            else colour_of(position)
            for position, prompt in enumerate(prompts)
        }
        self._style = Style.of(video.height)
        self._canvas: av.VideoFrame | None = None
        self._trails = TrailReader(notes) if notes else None

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._canvas = even_copy(self._picture(frame), self._canvas)
        trails = self._trails.at(frame) if self._trails else {}
        draw(self._canvas, result.objects, self._colours, self._style, self._options, trails)
        self._encoder.write(self._canvas, frame.time_s)

    def _picture(self, frame: Frame) -> av.VideoFrame:
        return frame.hdr if self._keeps_hdr and frame.hdr else frame.picture

    def close(self) -> None:
        self._encoder.close()

    def abort(self) -> None:
        self._encoder.abort()


def draw(
    canvas: av.VideoFrame,
    objects: Sequence[ObjectResult],
    rgb: Mapping[str, tuple[int, int, int]],
    style: Style,
    options: Overlay = USUAL,
    trails: Trails = MappingProxyType({}),
) -> None:
    """Draw objects on a writable picture of even size, labels above all else.

    It is yuv420p or yuv420p10le.

    Args:
        rgb: the colour of each prompt.
        trails: where the centre of objects was, oldest first, in pixels.
    """
    whole = planes(canvas)
    y, u, v = whole
    colours = [to_yuv(_rgb_of(each, rgb, options), canvas) for each in objects]
    for each, colour in zip(objects, colours, strict=True):
        if each.mask.bits.any():
            _paint(y, u, v, each.mask, colour, style.line, options.opacity)
    for each, colour in zip(objects, colours, strict=True):
        if options.boxes:
            x0, y0, x1, y1 = each.box
            corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
            _stroke(whole, corners, colour, style.line)
        if len(trail := trails.get(each.object_id, ())) > 1:
            _stroke(whole, trail, colour, 2 * style.line)
    if options.labels:
        write_labels(whole, objects, colours, style)


def _rgb_of(
    item: ObjectResult, rgb: Mapping[str, tuple[int, int, int]], options: Overlay
) -> tuple[int, int, int]:
    if options.colour_by == "object" and item.prompt not in options.colours:
        return colour_of(item.object_id)
    return rgb[item.prompt]


def _stroke(
    whole: tuple[Plane, Plane, Plane],
    points: Sequence[tuple[float, float]],
    colour: Yuv,
    line: int,
) -> None:
    """An open line through points, in all planes."""
    for plane, value, step in zip(whole, colour, (1, 2, 2), strict=True):
        at = np.round(np.asarray(points) / step).astype(np.int32)
        drawn = np.ascontiguousarray(plane)
        cv2.polylines(drawn, [at], False, (value,), max(1, line // step))
        if drawn is not plane:
            np.copyto(plane, drawn)


def _paint(
    y: Plane, u: Plane, v: Plane, mask: Mask, colour: Yuv, line: int, opacity: float
) -> None:
    """Tint the mask's pixels, and cover those within ``line`` pixels of its edge."""
    bits, top, left = _with_even_edges(mask)
    edge = bits - _eroded(bits, line)
    h, w = bits.shape
    _tint(y[top : top + h, left : left + w], bits, edge, colour.y, opacity)
    bits, edge = _halved(bits), _halved(edge)
    rows, columns = slice(top // 2, (top + h) // 2), slice(left // 2, (left + w) // 2)
    _tint(u[rows, columns], bits, edge, colour.u, opacity)
    _tint(v[rows, columns], bits, edge, colour.v, opacity)


def _with_even_edges(mask: Mask) -> tuple[Bits, int, int]:
    """The mask's window grown to even edges, its top and its left.

    Each 2 by 2 pixels of it then have one chroma sample.
    """
    h, w = mask.bits.shape
    top, left, bottom, right = mask.y % 2, mask.x % 2, (mask.y + h) % 2, (mask.x + w) % 2
    grown = cv2.copyMakeBorder(mask.bits, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(grown, np.uint8), mask.y - top, mask.x - left


def _eroded(bits: Bits, radius: int) -> Bits:
    """Without the pixels that have a 0 within ``radius``, counting all outside as 0."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    eroded = cv2.erode(bits, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(eroded, np.uint8)


def _halved(bits: Bits) -> Bits:
    """Half the size: set where any of 2 by 2 is set."""
    rows = bits[::2] | bits[1::2]
    return rows[:, ::2] | rows[:, 1::2]


def _tint(window: Plane, bits: Bits, edge: Bits, value: int, opacity: float) -> None:
    """Blend ``value`` into the window where ``bits`` are set, and set it at the ``edge``."""
    if window.dtype == np.uint8:
        tinted = np.asarray(cv2.convertScaleAbs(window, alpha=1 - opacity, beta=opacity * value))
    else:
        blended = np.rint(window * np.float32(1 - opacity) + np.float32(opacity * value))
        tinted = blended.astype(window.dtype)
    tinted[edge.view(np.bool_)] = value
    cv2.copyTo(tinted, bits, window)


class OverlayOutput(Output[Overlay]):
    """The overlay with the sound of the source; drawn while tracking where a frame is enough."""

    @property
    def is_rendered(self) -> bool:
        return self.options.is_rendered

    @classmethod
    def notes(cls, options: Overlay) -> Notes | None:
        return trails.NOTES if options.trails else None

    def streams(self) -> Sequence[Stream]:
        return [] if self.options.rate == "original" else [self._pictures]

    @property
    def _pictures(self) -> Stream:
        fps = self.scene.written_fps
        needs = StreamNeeds.VIDEO if self.options.trails else StreamNeeds.IDS
        return Stream(
            "overlay", "overlay.mp4", lambda path: self._sink(path, fps), join_videos, needs
        )

    def finish(self, made: Made, path: Path) -> Path:
        notes = self.notes(self.options)
        if self.options.rate == "original":
            drawn = self._render(made, notes)
        else:
            drawn = made.rendered(self._pictures, notes) if notes else made.files["overlay"]
        how: How = "keep" if self.options.audio else "drop"
        return made.with_sound(self.options.kind, drawn, path, how)

    def _sink(self, path: Path, fps: float) -> OverlaySink:
        scene, notes = self.scene, self.notes(self.options)
        place = scene.folder / notes.piece if notes else None
        return OverlaySink(path, scene.info, scene.spec.labels, fps, self.options, place)

    def _render(self, made: Made, notes: Notes | None) -> Path:
        """All frames of the source, those in between with what was found before."""
        options, path = self.scene.spec.options, made.folder / "drawn.mp4"
        ends_early = options.max_frames or (
            options.direction is Direction.BACKWARD and options.start_frame is not None
        )
        if notes:
            notes.write(made.tables, made.files, [NotesFile(0, self.scene.folder / notes.piece)])
        with made.source_frames(every=True) as frames:
            results = with_results(frames, made.tables, in_between=True, to_the_end=not ends_early)
            draw_all(self._sink(path, self.scene.info.fps), results)
        return path
