"""Labels on a picture: what they say, how they look, and where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from worker.engines.base import ObjectResult
from worker.outputs.colours import Yuv
from worker.video.planes import Plane

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


def write_labels(
    whole: tuple[Plane, Plane, Plane],
    objects: Sequence[ObjectResult],
    colours: Sequence[Yuv],
    style: Style,
) -> None:
    """Write the label of each object beside its box; none hides an earlier one while there is room.

    Args:
        whole: the planes of a 4:2:0 picture, which is written on.
        colours: of the objects, in their order.
    """
    y, u, v = whole
    taken: list[Area] = []
    for each, colour in zip(objects, colours, strict=True):
        label = _label_in(label_text(each), colour, style, y)
        area = place(label, each.box, y, taken)
        taken.append(area)
        y[area.pixels] = label[: area.bottom - area.top, : area.right - area.left]
        u[area.samples], v[area.samples] = colour.u, colour.v


def label_text(item: ObjectResult) -> str:
    """The prompt, cut short if need be, and the id; the font has ASCII only."""
    if not item.prompt.isascii():
        return f"#{item.object_id}"
    prompt = item.prompt
    if len(prompt) > MAX_LABEL_CHARS:
        prompt = prompt[: MAX_LABEL_CHARS - 2] + ".."
    return f"{prompt} #{item.object_id}"


def _label_in(text: str, colour: Yuv, style: Style, luma: Plane) -> Plane:
    """A label for a plane of 8 or of 10 bits; the font is drawn in 8."""
    if luma.dtype == np.uint8:
        return _label(text, colour, style)
    small = _label(text, Yuv(*(value // 4 for value in colour)), style)
    return small.astype(luma.dtype) * 4


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
