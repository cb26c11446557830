"""JPEG, PNG and WebP data without what a decoder needs not, and may be made to blow up.

Text, colour profiles and EXIF come compressed, or as entries that share their values: some kB of
them can take a decoder gigabytes. None of them changes a pixel, save the orientation in EXIF.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from av.packet import Packet

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_JPEG_BYTES = 64 << 20  # 35 megapixels at the best quality
MAX_IDAT_OVERHEAD = 1 << 20

# Chunks of PNG (third edition, 11.2 and 11.3) that a picture is made of, with their largest size,
# and those of fixed size that describe its colours.
PNG_CHUNKS = {b"IHDR": 13, b"PLTE": 768, b"tRNS": 256, b"IEND": 0} | dict.fromkeys(
    (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"pHYs"), 32
)

# Markers of JPEG (ITU-T T.81, table B.1).
SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
APP0, APP1 = 0xE0, 0xE1  # to 0xEF; a comment is 0xFE
RESERVED = range(0xF0, 0xFE)  # for extensions, such as JPEG-LS
MAX_APP_BYTES = 64  # JFIF has 16, Adobe 14
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")  # none of entropy-coded data (B.1.1.5)

WEBP_EXTENDED = b"VP8X"
WEBP_PIXELS = (b"ALPH", b"VP8 ", b"VP8L")
WEBP_ALPHA, WEBP_EXIF = 0x10, 0x08  # flags of the extended format

EXIF_HEAD = b"Exif\0\0"
ORIENTATION = 0x0112  # tag of TIFF 6.0
_SHORT = 3  # field type


def plain_png(file: BinaryIO, size: int) -> bytes:
    """The chunks of a PNG that its pixels need; of EXIF, the orientation.

    Args:
        file: at the signature.
        size: bytes of the PNG; chunks that are left out are not read.
    """
    kept, end = [file.read(8)], file.tell() - 8 + size
    most = MAX_IDAT_OVERHEAD  # bytes of compressed pixels
    while file.tell() + 12 <= end:
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        length = min(length, max(0, end - file.tell()))
        if kind == b"IDAT" and length <= most:
            most -= length
            kept.append(head + file.read(length + 4))
        elif kind == b"eXIf" and length < 1 << 16:
            kept.append(_png_orientation(file.read(length + 4)))
        elif length <= PNG_CHUNKS.get(kind, -1):
            data = file.read(length + 4)
            kept.append(head + data)
            if kind == b"IHDR":
                width, height = struct.unpack_from(">II", data.ljust(8, b"\0"))
                most += 9 * width * height  # 8 bytes a pixel at most, hardly compressed
        else:
            file.seek(length + 4, io.SEEK_CUR)
    return b"".join(kept)


def plain_jpeg(data: bytes) -> bytes:
    """A JPEG without comments and application segments, save short ones and the orientation."""
    return b"".join(_plain_segments(data))


def _plain_segments(data: bytes) -> Iterator[bytes]:
    position = 0
    while found := _MARKER.search(data, position):
        marker, start = found[1][0], found.start()
        if marker in (SOI, EOI):
            end = start + 2
        else:
            end = start + 2 + max(2, int.from_bytes(data[start + 2 : start + 4], "big"))
        segment = data[start:end]
        if marker == APP1:
            yield _jpeg_orientation(segment)
        elif marker < APP0 or (marker not in RESERVED and len(segment) <= MAX_APP_BYTES):
            yield segment
        position = end
        if marker == SOS:
            following = _MARKER.search(data, end)
            position = following.start() if following else len(data)
            yield data[end:position]


def plain_webp(data: bytes) -> bytes:
    """A WebP (RFC 9649) without colour profile and XMP; of EXIF, the orientation."""
    if data[12:16] != WEBP_EXTENDED:  # one chunk of pixels
        return data
    chunks = list(_webp_chunks(data))
    tiffs = (body.removeprefix(EXIF_HEAD) for kind, body in chunks if kind == b"EXIF")
    turn = next(map(orientation, tiffs), 1)
    kept = []
    for kind, body in chunks:
        if kind == WEBP_EXTENDED:
            flags = (body[0] if body else 0) & WEBP_ALPHA | WEBP_EXIF * (turn != 1)
            kept.append((kind, bytes((flags,)) + body[1:10]))
        elif kind in WEBP_PIXELS:
            kept.append((kind, body))
    if turn != 1:
        kept.append((b"EXIF", _exif(turn)))
    packed = b"".join(
        kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for kind, body in kept
    )
    return b"RIFF" + struct.pack("<I", 4 + len(packed)) + b"WEBP" + packed


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


def plain_packet(packet: Packet[Any], codec: str) -> Packet[Any]:
    """A packet of a video in one of these formats likewise; any other as it is."""
    if codec == "mjpeg":
        data = plain_jpeg(bytes(packet))
    elif codec == "png":
        data = plain_png(io.BytesIO(bytes(packet)), packet.size)
    else:
        return packet
    # Not made of Python's bytes: a thread of the decoder would need the interpreter to free them,
    # which whoever closes the decoder may hold.
    plain: Packet[Any] = Packet(len(data))
    plain.update(data)
    plain.pts, plain.dts, plain.duration = packet.pts, packet.dts, packet.duration
    plain.time_base, plain.is_keyframe = packet.time_base, packet.is_keyframe
    return plain


def orientation(tiff: bytes) -> int:
    """The orientation (1 to 8) in the first directory of EXIF data; 1 if there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    start = struct.unpack_from(f"{order}I", tiff, 4)[0]
    count = struct.unpack(f"{order}H", tiff[start : start + 2].ljust(2, b"\0"))[0]
    entries = tiff[start + 2 : start + 2 + 12 * count]
    for tag, kind, values, value in struct.iter_unpack(
        f"{order}HHIH2x", entries[: len(entries) // 12 * 12]
    ):
        if (tag, kind, values) == (ORIENTATION, _SHORT, 1) and 1 <= value <= 8:
            return int(value)
    return 1


def _exif(value: int) -> bytes:
    """EXIF data that holds an orientation alone."""
    return b"II*\0" + struct.pack("<IHHHIH2xI", 8, 1, ORIENTATION, _SHORT, 1, value, 0)


def _jpeg_orientation(segment: bytes) -> bytes:
    value = orientation(segment[10:]) if segment[4:10] == EXIF_HEAD else 1
    if value == 1:
        return b""
    data = EXIF_HEAD + _exif(value)
    return bytes((0xFF, APP1)) + struct.pack(">H", 2 + len(data)) + data


def _png_orientation(data: bytes) -> bytes:
    body = b"eXIf" + _exif(orientation(data))
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
