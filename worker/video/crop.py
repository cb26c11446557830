"""The crop that a container asks for: ``clap`` of mp4 and mov, ``PixelCrop`` of Matroska.

FFmpeg's own programs apply it as players do, but its libraries leave it to the caller, and PyAV
does not hand it on. What the codec itself crops is applied by its decoder. Only headers are read,
and a number of them that no file needs ends the search: a crop that is not found is none.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from av.video.stream import VideoStream

from worker.video.planes import Edges

MAX_HEADERS = 1_000  # in one level of a file
NONE = Edges()


def container_crop(path: Path, stream: VideoStream) -> Edges:
    """As ``crop_in``, of a local file."""
    with path.open("rb") as file:
        return crop_in(file, stream)


def crop_in(file: BinaryIO, stream: VideoStream) -> Edges:
    """How many pixels of the stored pictures of a stream are to be cut off at each edge.

    A crop that leaves nothing, or reaches beyond the picture, is ignored.

    Args:
        file: the stream's, seekable. It is left where it was: FFmpeg reads on from there.
    """
    at = file.tell()
    try:
        return _crop_in(file, stream)
    finally:
        file.seek(at)


def _crop_in(file: BinaryIO, stream: VideoStream) -> Edges:
    name, context = stream.container.format.name, stream.codec_context
    size = context.width, context.height
    try:
        if "mp4" in name:
            crop = _clap(file, stream.id, *size)
        elif "matroska" in name:
            order = [each.index for each in stream.container.streams.video]
            crop = _pixel_crop(file, order.index(stream.index))
        else:
            return NONE
    except (struct.error, ValueError, ZeroDivisionError):  # cut off, or nonsense
        return NONE
    is_sound = (
        min(crop) >= 0 and crop.left + crop.right < size[0] and crop.top + crop.bottom < size[1]
    )
    return crop if is_sound else NONE


class _Element(NamedTuple):
    """A box or an EBML element: where its content is in the file."""

    kind: bytes
    start: int
    end: int


# --- ISO/IEC 14496-12 -----------------------------------------------------------------------------

_ENTRY_BYTES = 78  # of a VisualSampleEntry, after its header: 12.1.3.2


def _clap(file: BinaryIO, track_id: int, width: int, height: int) -> Edges:
    """The clean aperture of a track: 12.1.4.1."""
    for moov in _boxes(file, 0, _size(file), b"moov"):
        for track in _boxes(file, moov.start, moov.end, b"trak"):
            if _track_id(file, track) != track_id:
                continue
            entries = _inside(file, track, b"mdia", b"minf", b"stbl", b"stsd")
            for entry in _boxes(file, entries.start + 8, entries.end) if entries else ():
                for clap in _boxes(file, entry.start + _ENTRY_BYTES, entry.end, b"clap"):
                    file.seek(clap.start)
                    return _aperture(struct.unpack(">IIIIiIiI", file.read(32)), width, height)
                return NONE  # one entry decides: the pictures of another are not told apart
    return NONE


def _aperture(fields: tuple[int, ...], width: int, height: int) -> Edges:
    across, down, right, below = (Fraction(*fields[at : at + 2]) for at in (0, 2, 4, 6))
    left = math.floor(right + Fraction(width - 1, 2) - (across - 1) / 2)
    top = math.floor(below + Fraction(height - 1, 2) - (down - 1) / 2)
    return Edges(left, top, width - left - round(across), height - top - round(down))


def _track_id(file: BinaryIO, track: _Element) -> int:
    for header in _boxes(file, track.start, track.end, b"tkhd"):
        file.seek(header.start)
        data = file.read(24)
        return int.from_bytes(data[20:24] if data[0] else data[12:16], "big")
    return 0


def _inside(file: BinaryIO, box: _Element, *kinds: bytes) -> _Element | None:
    found: _Element | None = box
    for kind in kinds:
        if found is None:
            return None
        found = next(_boxes(file, found.start, found.end, kind), None)
    return found


def _boxes(file: BinaryIO, start: int, end: int, kind: bytes = b"") -> Iterator[_Element]:
    """The boxes of one level; with ``kind``, those of it."""
    for _ in range(MAX_HEADERS):
        if start + 8 > end:
            return
        file.seek(start)
        header = file.read(16)
        length, skipped = int.from_bytes(header[:4], "big"), 8
        if length == 1:
            length, skipped = int.from_bytes(header[8:], "big"), 16
        length = length or end - start
        if length < skipped:
            return
        if kind in (b"", header[4:8]):
            yield _Element(header[4:8], start + skipped, min(end, start + length))
        start += length


# --- Matroska (RFC 9559, 5.1.4.1.28) --------------------------------------------------------------

_SEGMENT, _TRACKS, _CLUSTER = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75"
_TRACK, _TYPE, _VIDEO = b"\xae", b"\x83", b"\xe0"
_CROPS = (b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa")  # left, top, right, bottom


def _pixel_crop(file: BinaryIO, number: int) -> Edges:
    """Of the n-th video track."""
    for segment in _elements(file, 0, _size(file)):
        if segment.kind != _SEGMENT:
            continue
        for element in _elements(file, segment.start, segment.end):
            if element.kind == _CLUSTER:
                break
            if element.kind == _TRACKS:
                tracks = _elements(file, element.start, element.end)
                videos = [found for track in tracks if (found := _video(file, track))]
                return _crop_of(file, videos[number]) if number < len(videos) else NONE
        break
    return NONE


def _video(file: BinaryIO, track: _Element) -> _Element | None:
    """The settings of a video track."""
    if track.kind != _TRACK:
        return None
    parts = {each.kind: each for each in _elements(file, track.start, track.end)}
    kind = parts.get(_TYPE)
    return parts.get(_VIDEO) if kind and _number(file, kind) == 1 else None


def _crop_of(file: BinaryIO, video: _Element) -> Edges:
    parts = {each.kind: each for each in _elements(file, video.start, video.end)}
    return Edges(*(_number(file, parts[kind]) if kind in parts else 0 for kind in _CROPS))


def _number(file: BinaryIO, element: _Element) -> int:
    file.seek(element.start)
    return int.from_bytes(file.read(min(8, element.end - element.start)), "big")


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[_Element]:
    """The elements of one level of EBML (RFC 8794, 5 and 6); one of unknown size reaches to the
    end."""
    for _ in range(MAX_HEADERS):
        if start >= end:
            return
        file.seek(start)
        header = file.read(12)
        id_bytes = _leading_zeros(header, 0) + 1
        size_bytes = _leading_zeros(header, id_bytes) + 1
        if id_bytes > 4 or size_bytes > 8:
            return
        raw = int.from_bytes(header[id_bytes : id_bytes + size_bytes], "big")
        most = (1 << 7 * size_bytes) - 1
        content = start + id_bytes + size_bytes
        size = raw & most
        stop = end if size == most else min(end, content + size)
        yield _Element(header[:id_bytes], content, stop)
        start = stop


def _leading_zeros(data: bytes, at: int) -> int:
    return 8 - data[at].bit_length() if at < len(data) else 8


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)
