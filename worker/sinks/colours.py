"""What a colour is in the planes of a picture."""

from __future__ import annotations

from typing import NamedTuple

import av
from av.video.reformatter import ColorRange

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
