"""What a colour is in the planes of a picture."""

from __future__ import annotations

from typing import NamedTuple

import av
import numpy as np

from worker.video.colour import FULL, WEIGHTS, colours_of
from worker.video.hdr import from_sdr


class Yuv(NamedTuple):
    """A colour in luma and chroma, of as many bits as the picture has: 8 or 10."""

    y: int
    u: int
    v: int


def rgb_of(code: str) -> tuple[int, int, int]:
    """Red, green, blue (0 to 255) of a colour such as ``#e6194b``."""
    red, green, blue = bytes.fromhex(code.removeprefix("#"))
    return red, green, blue


def to_yuv(rgb: tuple[int, int, int], picture: av.VideoFrame) -> Yuv:
    """The colour as it must be written into this picture's planes (ITU-T H.273, 8.3).

    White in an HDR picture is as bright as paper, 203 cd/m² (ITU-R BT.2408).
    """
    colours = colours_of(picture)
    signal = np.array(rgb) / 255
    if colours.is_hdr:
        signal = from_sdr(signal, colours.transfer)
    kr, kb = WEIGHTS[colours.matrix]
    r, g, b = signal.tolist()
    luma = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - luma) / (2 - 2 * kb), (r - luma) / (2 - 2 * kr)
    if colours.range == FULL:
        return Yuv(round(255 * luma), _byte(128 + 255 * cb), _byte(128 + 255 * cr))
    unit = 4 if picture.format.name == "yuv420p10le" else 1
    return Yuv(
        round(unit * (16 + 219 * luma)),
        round(unit * (128 + 224 * cb)),
        round(unit * (128 + 224 * cr)),
    )


def _byte(value: float) -> int:
    return min(255, max(0, round(value)))
