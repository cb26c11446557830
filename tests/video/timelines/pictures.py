"""Pictures that carry their number in binary, and their packets."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np

WIDTH, HEIGHT, CELL = 128, 32, 16


def picture(number: int) -> av.VideoFrame:
    rgb = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(8):
        rgb[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if number >> bit & 1 else 16
    x = 3 * number % (WIDTH - 16)
    rgb[CELL:, x : x + 16] = (220, 20, 20)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


def number_of(shown: av.VideoFrame) -> int:
    grey = shown.to_ndarray(format="gray")
    return sum(1 << bit for bit in range(8) if grey[CELL // 2, CELL // 2 + bit * CELL] > 120)


@dataclass(frozen=True)
class Coded:
    """A packet; stamps in pictures."""

    data: bytes
    pts: int
    dts: int
    is_key: bool


@lru_cache(maxsize=256)
def coded(
    codec: str, first: int, frames: int, gop: int, b_frames: int, is_global: bool
) -> list[Coded]:
    """Packets of pictures numbered from ``first``."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = coder_options(codec, gop, b_frames)
    if is_global:
        context.options |= {"flags": "+global_header"}
    packets = []
    for index in range(frames):
        shown = picture(first + index)
        shown.pts, shown.time_base = index, Fraction(1, 25)
        packets += context.encode(shown)
    packets += context.encode(None)
    return [
        Coded(bytes(each), each.pts or 0, each.dts if each.dts is not None else 0, each.is_keyframe)
        for each in packets
    ]


def coder_options(codec: str, gop: int, b_frames: int) -> dict[str, str]:
    options = {"threads": "1", "g": str(gop)}
    if codec == "libx264":
        options |= {"preset": "ultrafast", "bf": str(b_frames), "b_strategy": "0"}
        options |= {"x264-params": f"scenecut=0:keyint={gop}:min-keyint={gop}:rc-lookahead=4"}
    elif codec == "libvpx":
        options |= {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    else:
        options |= {"bf": str(b_frames), "b_strategy": "0", "qmin": "2", "qmax": "4"}
    return options
