"""The video with its objects drawn on it.

Everything is drawn in the planes of the yuv420p picture, and only in the windows that objects
cover: a whole frame is never converted to RGB and back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shoal.outputs import Overlay
from worker.predictors.base import FrameResult, Mask, ObjectResult
from worker.sinks.colours import Yuv, colour_of, rgb_of, to_yuv
from worker.video.encode import Encoder
from worker.video.frame import Frame, VideoInfo
from worker.video.planes import Plane, even_copy, planes

Bits = NDArray[np.uint8]  # 0 or 1
Trails: TypeAlias = Mapping[int, Sequence[tuple[float, float]]]

USUAL = Overlay(kind="overlay")

FONT = cv2.FONT_HERSHEY_SIMPLEX
MAX_LABEL_CHARS = 24
TRAIL_S = 3.0  # how much of an object's way is drawn


class Style(NamedTuple):
    """Line widths in pixels and the font's scale, for one frame size."""

    line: int
    font_scale: float
    font_line: int

    @classmethod
    def of(cls, height: int) -> Style:
        return cls(
            max(1, round(height / 360)), max(0.4, height / 1200), max(1, round(height / 720))
        )


class Area(NamedTuple):
    """A label's place in pixels, all of them even; bottom and right lie just outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """The rows and columns of luma."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def samples(self) -> tuple[slice, slice]:
        """The rows and columns of chroma."""
        return slice(self.top // 2, self.bottom // 2), slice(self.left // 2, self.right // 2)

    def overlaps(self, other: Area) -> bool:
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right


class OverlaySink:
    """H.264 video: each object with a translucent fill, an outline and its prompt and id.

    All objects of a prompt have the prompt's colour, which its position in the list decides
    unless the options do. Trails need the frames before: a sink that draws them must get all.
    """

    name = "overlay"

    def __init__(
        self,
        path: Path,
        video: VideoInfo,
        prompts: Sequence[str],
        fps: float,
        options: Overlay = USUAL,
    ) -> None:
        """Create the file.

        Args:
            path: where to write the mp4.
            video: the source.
            prompts: all of the job, in its order.
            fps: about how many frames are written per second of video.
            options: what to draw.
        """
        self._encoder = Encoder(path, video, fps)
        self._options = options
        self._colours = {
            prompt: rgb_of(options.colours[prompt])
            if prompt in options.colours
            else colour_of(position)
            for position, prompt in enumerate(prompts)
        }
        self._style = Style.of(video.height)
        self._canvas: av.VideoFrame | None = None
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._canvas = even_copy(frame.picture, self._canvas)
        trails = self._extend_trails(frame, result) if self._options.trails else {}
        draw(self._canvas, result.objects, self._colours, self._style, self._options, trails)
        self._encoder.write(self._canvas, frame.time_s)

    def close(self) -> None:
        self._encoder.close()

    def abort(self) -> None:
        self._encoder.abort()

    def _extend_trails(self, frame: Frame, result: FrameResult) -> Trails:
        for each in result.objects:
            x0, y0, x1, y1 = each.box
            trail = self._trails.setdefault(each.object_id, deque())
            trail.append((frame.time_s, (x0 + x1) / 2, (y0 + y1) / 2))
        for object_id, trail in list(self._trails.items()):
            while trail and trail[0][0] < frame.time_s - TRAIL_S:
                trail.popleft()
            if not trail:
                del self._trails[object_id]
        shown = {each.object_id for each in result.objects}
        return {
            object_id: [(x, y) for _, x, y in trail]
            for object_id, trail in self._trails.items()
            if object_id in shown
        }


def draw(
    canvas: av.VideoFrame,
    objects: Sequence[ObjectResult],
    rgb: Mapping[str, tuple[int, int, int]],
    style: Style,
    options: Overlay = USUAL,
    trails: Trails = MappingProxyType({}),
) -> None:
    """Draw objects on a writable yuv420p picture of even size, labels above all else.

    Args:
        rgb: the colour of each prompt.
        trails: where the centre of objects was, oldest first, in pixels.
    """
    whole = planes(canvas)
    y, u, v = whole
    colours = [to_yuv(rgb[each.prompt], canvas) for each in objects]
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
        _write_labels(whole, objects, colours, style)


def _write_labels(
    whole: tuple[Plane, Plane, Plane],
    objects: Sequence[ObjectResult],
    colours: Sequence[Yuv],
    style: Style,
) -> None:
    y, u, v = whole
    taken: list[Area] = []
    for each, colour in zip(objects, colours, strict=True):
        label = _label(label_text(each), colour, style)
        area = place(label, each.box, y, taken)
        taken.append(area)
        y[area.pixels] = label[: area.bottom - area.top, : area.right - area.left]
        u[area.samples], v[area.samples] = colour.u, colour.v


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


def label_text(item: ObjectResult) -> str:
    """The prompt, cut short if need be, and the id; the font has ASCII only."""
    if not item.prompt.isascii():
        return f"#{item.object_id}"
    prompt = item.prompt
    if len(prompt) > MAX_LABEL_CHARS:
        prompt = prompt[: MAX_LABEL_CHARS - 2] + ".."
    return f"{prompt} #{item.object_id}"


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
    tinted = np.asarray(cv2.convertScaleAbs(window, alpha=1 - opacity, beta=opacity * value))
    tinted[edge.view(np.bool_)] = value
    cv2.copyTo(tinted, bits, window)


@lru_cache(maxsize=1024)
def _label(text: str, colour: Yuv, style: Style) -> Plane:
    """Luma of a label, (h, w) of even size: a box in the colour, its text black or white."""
    (w, h), baseline = cv2.getTextSize(text, FONT, style.font_scale, style.font_line)
    pad = 2 * style.line
    box = np.full((_even(h + baseline + pad), _even(w + 2 * pad)), colour.y, np.uint8)
    ink = 16 if colour.y > 120 else 235
    cv2.putText(
        box,
        text,
        (pad, h + pad // 2),
        FONT,
        style.font_scale,
        ink,
        style.font_line,
        cv2.LINE_AA,
    )
    return box


def _even(value: int) -> int:
    return value + value % 2


def place(
    label: Plane, box: tuple[float, float, float, float], y: Plane, taken: Sequence[Area]
) -> Area:
    """Where a label goes: above the box's top left corner, moved and cut to lie within the frame.

    One that would hide an earlier label goes below that, as long as there is room.
    """
    height, width = y.shape
    h, w = min(label.shape[0], height), min(label.shape[1], width)
    left = int(min(max(box[0], 0), width - w)) // 2 * 2
    top = int(min(max(box[1] - h, 0), height - h)) // 2 * 2
    area = Area(top, left, top + h, left + w)
    while hidden := next((other for other in taken if other.overlaps(area)), None):
        if hidden.bottom + h > height:
            break
        area = Area(hidden.bottom, left, hidden.bottom + h, left + w)
    return area
