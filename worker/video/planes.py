"""The planes of a yuv420p picture as arrays: views, copies, and turning a picture upright."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


class Orientation(NamedTuple):
    """How a stored picture is turned upright: transposed first, then flipped.

    These three express all eight orientations of a display matrix and of EXIF.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def size(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Width and height of the picture once it is upright."""
        if self.transpose:
            return picture.height, picture.width
        return picture.width, picture.height

    @property
    def degrees(self) -> int:
        """The counter-clockwise rotation in it, mirroring aside: 0, 90, 180 or 270."""
        if self.transpose:
            return 90 if self.flip_y else 270
        return 180 if self.flip_y else 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as a reader yields it.

    Attributes:
        index: position in the source, from 0.
        time_s: seconds since the first picture.
        stored: as decoded, any pixel format.
        orientation: what makes it upright.
    """

    index: int
    time_s: float
    stored: av.VideoFrame
    orientation: Orientation


_ROTATIONS = (  # by 0, 90, 180 and 270 degrees counter-clockwise
    Orientation(),
    Orientation(True, flip_y=True),
    Orientation(False, True, True),
    Orientation(True, flip_x=True),
)


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """Read the display matrix that came with a decoded picture.

    Not for every picture of a video: asking PyAV for side data ties the picture into a reference
    cycle, and its memory waits for the garbage collector.

    The matrix is FFmpeg's ``AV_FRAME_DATA_DISPLAYMATRIX``: nine int32 ``a b u c d v x y w`` with
    x' = a x + c y and y' = b x + d y, the y axis pointing down.
    """
    try:
        matrix = cast("Mapping[str, bytes]", picture.side_data).get("DISPLAYMATRIX")
    except ValueError:  # PyAV has no name for something else that came with the picture
        return _ROTATIONS[round(picture.rotation / 90) % 4]
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if abs(int(a)) >= abs(int(b)):
        return Orientation(False, flip_x=bool(a < 0), flip_y=bool(d < 0))
    return Orientation(True, flip_x=bool(c < 0), flip_y=bool(b < 0))


def planes(picture: av.VideoFrame) -> tuple[Plane, Plane, Plane]:
    """Y, U and V of a yuv420p picture as uint8 views that share its memory.

    Y is (H, W); U and V are (ceil(H / 2), ceil(W / 2)). Rows may be padded in memory.
    """
    y, u, v = (_view(plane) for plane in picture.planes)
    return y, u, v


def fingerprint(picture: av.VideoFrame) -> int:
    """A checksum (CRC-32) of a yuv420p picture's pixels."""
    checksum = 0
    for plane in planes(picture):
        checksum = zlib.crc32(np.ascontiguousarray(plane).data, checksum)
    return checksum


def _view(plane: av.video.plane.VideoPlane) -> Plane:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, abs(plane.line_size))
    view = rows[:, : plane.width]
    return view[::-1] if plane.line_size < 0 else view


def copy_tags(source: av.VideoFrame, target: av.VideoFrame) -> None:
    """Give ``target`` the colour description of ``source``."""
    target.colorspace = source.colorspace
    target.color_range = source.color_range
    target.color_trc = source.color_trc
    target.color_primaries = source.color_primaries


def even_copy(picture: av.VideoFrame, into: av.VideoFrame | None = None) -> av.VideoFrame:
    """A copy of a yuv420p picture that may be drawn on, odd sizes padded by one edge pixel.

    Chroma planes round odd sizes up, so they are already those of the padded picture.

    Args:
        picture: any size.
        into: an earlier copy of the same size, whose memory is used again if nobody reads it.
    """
    width, height = picture.width + picture.width % 2, picture.height + picture.height % 2
    copy = into or av.VideoFrame(width, height, "yuv420p")
    copy.make_writable()
    copy_tags(picture, copy)
    for target, source in zip(planes(copy), planes(picture), strict=True):
        h, w = source.shape
        np.copyto(target[:h, :w], source)
        target[:, w:] = target[:, w - 1 : w]
        target[h:] = target[h - 1 : h]
    return copy


def cut(picture: av.VideoFrame, x: int, y: int, width: int, height: int) -> av.VideoFrame:
    """A copy of a window of a yuv420p picture, which lies within it; ``x`` and ``y`` are even."""
    window = av.VideoFrame(width, height, "yuv420p")
    copy_tags(picture, window)
    for target, source, step in zip(planes(window), planes(picture), (1, 2, 2), strict=True):
        h, w = target.shape
        np.copyto(target, source[y // step : y // step + h, x // step : x // step + w])
    return window


def upright(picture: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    """Convert a decoded picture to yuv420p and turn it upright.

    Range and matrix are kept as they are tagged; RGB becomes limited-range BT.601.
    """
    if picture.format.name != "yuv420p":
        picture = _to_yuv420p(picture)
    if orientation == Orientation():
        return picture
    turned = av.VideoFrame(*orientation.size(picture), "yuv420p")
    copy_tags(picture, turned)
    for target, source in zip(planes(turned), planes(picture), strict=True):
        _turn(source, orientation, target)
    return turned


def _to_yuv420p(picture: av.VideoFrame) -> av.VideoFrame:
    if picture.format.is_rgb or picture.format.has_palette:
        return picture.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
        )
    return picture.reformat(format="yuv420p")


def _turn(source: Plane, orientation: Orientation, target: Plane) -> None:
    if orientation.transpose:
        source = np.asarray(cv2.transpose(source), np.uint8)
    match orientation.flip_x, orientation.flip_y:
        case True, True:
            cv2.flip(source, -1, target)
        case True, False:
            cv2.flip(source, 1, target)
        case False, True:
            cv2.flip(source, 0, target)
        case _:
            np.copyto(target, source)
