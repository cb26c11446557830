"""Small videos and pictures of known colours, and changes to containers that no muxer makes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests.fakes import Fake, FakeSession
from worker.engines.base import FrameResult, Mask, ObjectResult, Query
from worker.video.frame import Frame, VideoInfo

Rgb = NDArray[np.uint8]

# The quarters of ``quarters``, from the top left, row by row.
RED, GREEN, BLUE, WHITE = (200, 40, 40), (40, 160, 40), (40, 40, 200), (220, 220, 220)
QUARTERS = (RED, GREEN, BLUE, WHITE)


def quarters(width: int = 64, height: int = 48) -> Rgb:
    """(height, width, 3): four colours, so that every orientation looks different."""
    rgb = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(QUARTERS):
        top, left = number // 2 * height // 2, number % 2 * width // 2
        rgb[top : top + height // 2, left : left + width // 2] = colour
    return rgb


def corners(rgb: NDArray[np.generic]) -> list[list[int]]:
    """The colours in the middles of the four quarters."""
    h, w = rgb.shape[:2]
    return [rgb[y, x].tolist() for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]


def yuv(rgb: Rgb, weights: tuple[float, float], *, full: bool = False) -> list[Rgb]:
    """8-bit planes of 4:2:0 by the formulas of ITU-T H.273, 8.3, without any library's converter.

    Args:
        weights: of red and blue in luma.
    """
    kr, kb = weights
    r, g, b = (rgb[..., channel] / 255 for channel in range(3))
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    planes = (255 * y, 128 + 255 * cb[::2, ::2], 128 + 255 * cr[::2, ::2])
    if not full:
        planes = (16 + 219 * y, 128 + 224 * cb[::2, ::2], 128 + 224 * cr[::2, ::2])
    return [np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in planes]


def frame_of(planes: Sequence[NDArray[np.unsignedinteger]], pixel_format: str) -> av.VideoFrame:
    """A picture of these planes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    for target, source in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), source.dtype).reshape(target.height, -1)
        rows[:, : source.shape[1]] = source
    return frame


def encode(
    path: Path,
    frames: Sequence[av.VideoFrame],
    *,
    codec: str = "libx264",
    tags: tuple[int, int, int, int] = (2, 0, 2, 2),
    fps: int = 25,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    setup: Callable[[av.VideoStream], None] = lambda stream: None,
) -> None:
    """A video of these pictures, near to lossless.

    Args:
        tags: matrix, range, primaries and transfer that the stream says it has.
    """
    first = frames[0]
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=fps, options={"crf": "4"} | (options or {}))
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt = first.format.name
        context = stream.codec_context
        context.colorspace, context.color_range = tags[0], tags[1]
        context.color_primaries, context.color_trc = tags[2], tags[3]
        setup(stream)
        for number, frame in enumerate(frames):
            frame.colorspace, frame.color_range = tags[0], tags[1]
            frame.color_primaries, frame.color_trc = tags[2], tags[3]
            frame.pts, frame.time_base = number, Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def insert_clap(path: Path, width: int, height: int, right: int, down: int) -> None:
    """Give the video of an mp4 a clean aperture (ISO/IEC 14496-12, 12.1.4), whole pixels.

    Args:
        right, down: twice the distance of its centre from the picture's.
    """
    data = bytearray(path.read_bytes())
    box = struct.pack(">I4sIIIIiIiI", 40, b"clap", width, 1, height, 1, right, 2, down, 2)
    entry = data.rindex(b"avc1") - 4  # the last: the brands come first
    at = entry + 8 + 78
    data[at:at] = box
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        start = data.rindex(kind) - 4
        (size,) = struct.unpack(">I", data[start : start + 4])
        data[start : start + 4] = struct.pack(">I", size + len(box))
    assert data.rindex(b"mdat") < data.rindex(b"moov"), "offsets would move"
    path.write_bytes(data)


def insert_pixel_crop(path: Path, left: int, top: int, right: int, bottom: int) -> None:
    """Give the video of a Matroska file, written with ``live``, a crop (RFC 9559, 5.1.4.1.28)."""
    data = bytearray(path.read_bytes())
    ids = (b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa")
    added = b"".join(
        kind + b"\x82" + struct.pack(">H", value)
        for kind, value in zip(ids, (left, top, right, bottom), strict=True)
    )
    tracks = data.rindex(b"\x16\x54\xae\x6b")  # the last: an index of the file names it, too
    entry = _child(data, tracks, 4, b"\xae")
    video = _child(data, entry, 1, b"\xe0")
    content = video + 1 + _size_bytes(data, video + 1)
    data[content:content] = added
    grown = len(added)
    for start, id_bytes in ((video, 1), (entry, 1), (tracks, 4)):  # from within, so places hold
        at = start + id_bytes
        length = _size_bytes(data, at)
        size = int.from_bytes(data[at : at + length], "big") - (1 << 7 * length) + grown
        data[at : at + length] = ((1 << 56) + size).to_bytes(8, "big")
        grown += 8 - length
    path.write_bytes(data)


def _child(data: bytes | bytearray, parent: int, id_bytes: int, kind: bytes) -> int:
    """Where the first element of a kind begins in another."""
    at = parent + id_bytes
    at += _size_bytes(data, at)
    while data[at : at + 1] != kind:
        at += _size_bytes(data, at)  # an id tells its length in the same way
        length = _size_bytes(data, at)
        size = int.from_bytes(data[at : at + length], "big") - (1 << 7 * length)
        at += length + size
    return at


def _size_bytes(data: bytes | bytearray, at: int) -> int:
    return 9 - data[at].bit_length()


class Square(Fake):
    """Finds one object per label, a square of 32 pixels."""

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> SquareSession:
        return SquareSession(self, query)


class SquareSession(FakeSession):
    def _one(self, frame: Frame) -> FrameResult:
        found = []
        for number, prompt in enumerate(self.prompts, start=1):
            mask = Mask(8, 8, np.ones((32, 32), np.uint8))
            found.append(ObjectResult(number, prompt, 0.9, (8.0, 8.0, 40.0, 40.0), mask, 0.9))
        return FrameResult(frame.index, found)
