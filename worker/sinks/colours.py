"""One colour per prompt, and what it is in the planes of a picture."""

from __future__ import annotations

from typing import NamedTuple

import av
from av.video.reformatter import ColorRange

# The 16 most distinct of Sasha Trubetskoy's list, without greys, black and white:
# https://sashamaps.net/docs/resources/20-colors/
PALETTE = (
    (230, 25, 75),  # red
    (66, 212, 244),  # cyan
    (255, 225, 25),  # yellow
    (145, 30, 180),  # purple
    (60, 180, 75),  # green
    (245, 130, 49),  # orange
    (67, 99, 216),  # blue
    (240, 50, 230),  # magenta
    (191, 239, 69),  # lime
    (250, 190, 212),  # pink
    (70, 153, 144),  # teal
    (220, 190, 255),  # lavender
    (154, 99, 36),  # brown
    (255, 250, 200),  # beige
    (128, 0, 0),  # maroon
    (170, 255, 195),  # mint
)

# Weights of red and blue in luma, by AVColorSpace, which are the codes of ITU-T H.273, table 4.
_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)
_WEIGHTS = {
    1: _BT709,
    4: (0.30, 0.11),
    5: _BT601,
    6: _BT601,
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_HD_HEIGHT = 720  # from here on players take an untagged picture for BT.709


class Yuv(NamedTuple):
    """A colour in 8-bit luma and chroma."""

    y: int
    u: int
    v: int


def colour_of(position: int) -> tuple[int, int, int]:
    """Red, green, blue (0 to 255) of the prompt at ``position`` in the job's list, from 0.

    It depends on nothing else: the same job always looks the same.
    """
    return PALETTE[position % len(PALETTE)]


def rgb_of(code: str) -> tuple[int, int, int]:
    """Red, green, blue (0 to 255) of a colour such as ``#e6194b``."""
    red, green, blue = bytes.fromhex(code.removeprefix("#"))
    return red, green, blue


def to_yuv(rgb: tuple[int, int, int], picture: av.VideoFrame) -> Yuv:
    """The colour as it must be written into this picture's planes (ITU-T H.273, 8.3)."""
    untagged = _BT709 if picture.height >= _HD_HEIGHT else _BT601
    kr, kb = _WEIGHTS.get(picture.colorspace, untagged)
    r, g, b = (value / 255 for value in rgb)
    luma = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - luma) / (2 - 2 * kb), (r - luma) / (2 - 2 * kr)
    if picture.color_range == ColorRange.JPEG:
        return Yuv(round(255 * luma), _byte(128 + 255 * cb), _byte(128 + 255 * cr))
    return Yuv(round(16 + 219 * luma), round(128 + 224 * cb), round(128 + 224 * cr))


def _byte(value: float) -> int:
    return min(255, max(0, round(value)))
