"""The planes of a 4:2:0 picture as arrays: views, copies, and turning a picture upright."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, cast

import av
import cv2
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

Plane = NDArray[Any]  # uint8; in pictures of 10 bits uint16


class Edges(NamedTuple):
    """Pixels at the edges of a stored picture that a player does not show."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


class Orientation(NamedTuple):
    """How a stored picture is made upright: cropped, then transposed, then flipped.

    The last three express all eight orientations of a display matrix and of EXIF.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    crop: Edges = Edges()

    def size(self, picture: av.VideoFrame) -> tuple[int, int]:
        """Width and height of the picture once it is upright."""
        crop = self.crop
        width = picture.width - crop.left - crop.right
        height = picture.height - crop.top - crop.bottom
        return (height, width) if self.transpose else (width, height)

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
        name: of its file, in a sequence of pictures.
        until_s: when the next one begins, or the video ends; None: one spacing later.
        is_last: whether none comes after it.
    """

    index: int
    time_s: float
    stored: av.VideoFrame
    orientation: Orientation
    name: str = ""
    until_s: float | None = None
    is_last: bool = False


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """Read the display matrix that came with a decoded picture; decoders make one of EXIF, too.

    Not for every picture of a video: asking PyAV for side data ties the picture into a reference
    cycle, and its memory waits for the garbage collector.

    The matrix is FFmpeg's ``AV_FRAME_DATA_DISPLAYMATRIX``: nine int32 ``a b u c d v x y w`` with
    x' = a x + c y and y' = b x + d y, the y axis pointing down.
    """
    try:
        side_data = picture.side_data
    except ValueError:  # PyAV has no name for something else that came with the picture
        side_data = _without_nameless(picture).side_data
    matrix = cast("Mapping[str, bytes]", side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]
    if abs(int(a)) >= abs(int(b)):
        return Orientation(False, flip_x=bool(a < 0), flip_y=bool(d < 0))
    return Orientation(True, flip_x=bool(c < 0), flip_y=bool(b < 0))


# AVFrameSideDataType: LCEVC, VIEW_ID, 3D_REFERENCE_DISPLAYS, EXIF, and room for a few to come.
_NAMELESS = range(28, 36)


def _without_nameless(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture without side data that PyAV (18) cannot name, and therefore cannot list."""
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=Fraction(1, 1000),
    )
    deleted = [graph.add("sidedata", mode="delete", type=str(kind)) for kind in _NAMELESS]
    graph.link_nodes(source, *deleted, graph.add("buffersink")).configure()
    graph.push(picture)
    left = graph.pull()
    assert isinstance(left, av.VideoFrame)
    return left


def planes(picture: av.VideoFrame) -> tuple[Plane, Plane, Plane]:
    """Y, U and V of a yuv420p or yuv420p10le picture as views that share its memory.

    Y is (H, W); U and V are (ceil(H / 2), ceil(W / 2)). Rows may be padded in memory.
    """
    deep = picture.format.name == "yuv420p10le"
    y, u, v = (_view(plane, np.uint16 if deep else np.uint8) for plane in picture.planes)
    return y, u, v


def fingerprint(picture: av.VideoFrame) -> int:
    """A checksum (CRC-32) of a yuv420p picture's pixels."""
    checksum = 0
    for plane in planes(picture):
        checksum = zlib.crc32(np.ascontiguousarray(plane).data, checksum)
    return checksum


def _view(plane: av.video.plane.VideoPlane, kind: type[np.unsignedinteger[Any]]) -> Plane:
    rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
    view = rows[:, : plane.width]
    return view[::-1] if plane.line_size < 0 else view


def copy_tags(source: av.VideoFrame, target: av.VideoFrame) -> None:
    """Give ``target`` the colour description of ``source``."""
    target.colorspace = source.colorspace
    target.color_range = source.color_range
    target.color_trc = source.color_trc
    target.color_primaries = source.color_primaries


def even_copy(picture: av.VideoFrame, into: av.VideoFrame | None = None) -> av.VideoFrame:
    """A copy of a picture that may be drawn on, odd sizes padded by one edge pixel.

    Chroma planes round odd sizes up, so they are already those of the padded picture.

    Args:
        picture: any size.
        into: an earlier copy of the same size, whose memory is used again if nobody reads it.
    """
    width, height = picture.width + picture.width % 2, picture.height + picture.height % 2
    copy = into or av.VideoFrame(width, height, picture.format.name)
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
    window = av.VideoFrame(width, height, picture.format.name)
    copy_tags(picture, window)
    for target, source, step in zip(planes(window), planes(picture), (1, 2, 2), strict=True):
        h, w = target.shape
        np.copyto(target, source[y // step : y // step + h, x // step : x // step + w])
    return window


def upright(picture: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    """Crop a 4:2:0 picture and turn it upright.

    A chroma sample is shared by 2 by 2 pixels: a crop that begins at an odd place begins one pixel
    before, as FFmpeg's does.
    """
    if orientation == Orientation():
        return picture
    crop = orientation.crop
    left, top = crop.left // 2 * 2, crop.top // 2 * 2
    width, height = orientation.size(picture)
    turned = av.VideoFrame(width, height, picture.format.name)
    copy_tags(picture, turned)
    if orientation.transpose:
        width, height = height, width
    for target, source, step in zip(planes(turned), planes(picture), (1, 2, 2), strict=True):
        rows = slice(top // step, -(-(top + height) // step))
        columns = slice(left // step, -(-(left + width) // step))
        _turn(source[rows, columns], orientation, target)
    return turned


def _turn(source: Plane, orientation: Orientation, target: Plane) -> None:
    if orientation.transpose:
        source = np.asarray(cv2.transpose(source))
    match orientation.flip_x, orientation.flip_y:
        case True, True:
            cv2.flip(source, -1, target)
        case True, False:
            cv2.flip(source, 1, target)
        case False, True:
            cv2.flip(source, 0, target)
        case _:
            np.copyto(target, source)
