"""The video with its objects drawn on it.

Everything is drawn in the planes of the yuv420p picture, and only in the windows that objects
cover: a whole frame is never converted to RGB and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from worker.predictors.base import FrameResult, Mask, ObjectResult
from worker.sinks.colours import Yuv, colour_of, to_yuv
from worker.video.encode import Encoder
from worker.video.frame import Frame, VideoInfo
from worker.video.planes import Plane, even_copy, planes

OPACITY = 0.45  # of the fill; the outline is opaque
FONT = cv2.FONT_HERSHEY_SIMPLEX
MAX_LABEL_CHARS = 24


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


class OverlaySink:
    """H.264 video: each object with a translucent fill, an outline and its prompt and id.

    All objects of a prompt have the prompt's colour, which its position in the list decides.
    """

    name = "overlay"

    def __init__(self, path: Path, video: VideoInfo, prompts: Sequence[str], fps: float) -> None:
        """Create the file.

        Args:
            path: where to write the mp4.
            video: the source.
            prompts: all of the job, in its order.
            fps: about how many frames are written per second of video.
        """
        self._encoder = Encoder(path, video, fps)
        self._positions = {prompt: position for position, prompt in enumerate(prompts)}
        self._style = Style.of(video.height)
        self._canvas: av.VideoFrame | None = None

    def write(self, frame: Frame, result: FrameResult) -> None:
        self._canvas = even_copy(frame.picture, self._canvas)
        draw(self._canvas, result.objects, self._positions, self._style)
        self._encoder.write(self._canvas, frame.time_s)

    def close(self) -> None:
        self._encoder.close()

    def abort(self) -> None:
        self._encoder.abort()


def draw(
    canvas: av.VideoFrame,
    objects: Sequence[ObjectResult],
    positions: dict[str, int],
    style: Style,
) -> None:
    """Draw objects on a writable yuv420p picture of even size, labels above all else."""
    y, u, v = planes(canvas)
    colours = [to_yuv(colour_of(positions[each.prompt]), canvas) for each in objects]
    for each, colour in zip(objects, colours, strict=True):
        if each.mask.bits.any():
            _fill(y, u, v, each.mask, colour)
            _outline(y, u, v, each.mask, colour, style.line)
    for each, colour in zip(objects, colours, strict=True):
        label = _label(label_text(each), colour, style)
        _stamp(y, u, v, label, colour, each.box)


def label_text(item: ObjectResult) -> str:
    """The prompt, cut short if need be, and the id; the font has ASCII only."""
    if not item.prompt.isascii():
        return f"#{item.object_id}"
    prompt = item.prompt
    if len(prompt) > MAX_LABEL_CHARS:
        prompt = prompt[: MAX_LABEL_CHARS - 2] + ".."
    return f"{prompt} #{item.object_id}"


def _fill(y: Plane, u: Plane, v: Plane, mask: Mask, colour: Yuv) -> None:
    h, w = mask.bits.shape
    _tint(y[mask.y : mask.y + h, mask.x : mask.x + w], mask.bits, colour.y)
    # One chroma sample covers 2 by 2 pixels, the first of them at even coordinates.
    top, left = mask.y % 2, mask.x % 2
    bits = cv2.copyMakeBorder(
        mask.bits, top, (mask.y + h) % 2, left, (mask.x + w) % 2, cv2.BORDER_CONSTANT, value=0
    )
    half = np.bitwise_or(bits[::2, ::2], bits[1::2, 1::2], dtype=np.uint8)
    rows = slice(mask.y // 2, mask.y // 2 + half.shape[0])
    columns = slice(mask.x // 2, mask.x // 2 + half.shape[1])
    _tint(u[rows, columns], half, colour.u)
    _tint(v[rows, columns], half, colour.v)


def _tint(window: Plane, bits: NDArray[np.uint8], value: int) -> None:
    """Blend ``value`` into the window where ``bits`` are set, in place."""
    tinted = cv2.convertScaleAbs(window, alpha=1 - OPACITY, beta=OPACITY * value)
    cv2.copyTo(tinted, bits, window)


def _outline(y: Plane, u: Plane, v: Plane, mask: Mask, colour: Yuv, line: int) -> None:
    contours, _ = cv2.findContours(
        mask.bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(mask.x, mask.y)
    )
    cv2.drawContours(y, contours, -1, colour.y, line, cv2.LINE_AA)
    halves = [contour // 2 for contour in contours]
    cv2.drawContours(u, halves, -1, colour.u, max(1, line // 2))
    cv2.drawContours(v, halves, -1, colour.v, max(1, line // 2))


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


def _stamp(
    y: Plane,
    u: Plane,
    v: Plane,
    label: Plane,
    colour: Yuv,
    box: tuple[float, float, float, float],
) -> None:
    """Put the label above the box's top left corner, moved and cut to lie within the frame."""
    height, width = y.shape
    h, w = min(label.shape[0], height), min(label.shape[1], width)
    left = int(min(max(box[0], 0), width - w)) // 2 * 2
    top = int(min(max(box[1] - h, 0), height - h)) // 2 * 2
    y[top : top + h, left : left + w] = label[:h, :w]
    rows = slice(top // 2, (top + h) // 2)
    columns = slice(left // 2, (left + w) // 2)
    u[rows, columns] = colour.u
    v[rows, columns] = colour.v
