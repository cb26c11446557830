"""Pictures and tars of them that ask for much memory, or are damaged."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from fractions import Fraction
from typing import Any

import av
from av.video.stream import VideoStream

from tests import media
from tests.security.bombs import u32


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return u32(len(data)) + kind + data + u32(zlib.crc32(kind + data))


def png_with(*chunks: bytes) -> bytes:
    """A PNG with these chunks after its header."""
    data = media.png(1)
    return data[:33] + b"".join(chunks) + data[33:]


def zeros(count: int) -> bytes:
    """``count`` zeros, compressed a thousandfold."""
    return zlib.compress(bytes(count), 9)


def exif(entries: int, count: int) -> bytes:
    """A directory whose entries all share one value of ``count`` bytes (TIFF 6.0, section 2)."""
    place = 8 + 2 + 12 * entries + 4
    fields = (struct.pack("<HHII", 0xC000 + n, 1, count, place) for n in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + b"".join(fields) + bytes(4 + count)


def exif_orientation(value: int, order: str) -> bytes:
    """EXIF data with an orientation between others, in either order of bytes."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    fields = ((0x0100, 4, 1, 160), (0x0112, 3, 1, value << (16 if order == ">" else 0)))
    packed = b"".join(struct.pack(f"{order}HHII", *field) for field in fields)
    return magic + struct.pack(f"{order}IH", 8, 2) + packed + bytes(4)


def exif_segment(tiff: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + tiff)


def jpeg_with(*segments: bytes) -> bytes:
    data = media.jpeg(1)
    return data[:2] + b"".join(segments) + data[2:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def pictures(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def of_png(*chunks: bytes) -> bytes:
    data = png_with(*chunks)
    return pictures(*((f"{n}.png", data) for n in range(3)))


def of_jpeg(*segments: bytes, last: bytes = b"") -> bytes:
    """A tar of pictures with these segments; ``last`` comes after the pixels."""
    data = jpeg_with(*segments)
    data = data[:-2] + last + data[-2:]
    return pictures(*((f"{n}.jpg", data) for n in range(3)))


def picture_video(codec: str, extra: bytes) -> bytes:
    """Three frames of MJPEG or PNG, the later ones with chunks or segments after their head."""
    head = 33 if codec == "png" else 2
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = media.WIDTH, media.HEIGHT
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
        container.start_encoding()
        for number in range(3):
            data = media.png(1) if codec == "png" else media.jpeg(1)
            data = data[:head] + (extra if number else b"") + data[head:]
            packet: av.Packet[Any] = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return buffer.getvalue()


def tar_header(kind: bytes, size: int | bytes, name: bytes = b"1.png") -> bytes:
    """A header block (POSIX.1-1988) with any size field."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2)
    block += field.ljust(12, b"\0") + b"00000000000\0" + b" " * 8 + kind + bytes(100)
    block += b"ustar\x0000"
    block = block.ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tar_with(header: bytes, body: bytes) -> bytes:
    """A header and its data, then a good picture."""
    padded = body + bytes(-len(body) % 512)
    return header + padded + pictures(("1.png", media.png(1)))


def pax(records: bytes) -> bytes:
    return tar_with(tar_header(b"x", len(records)), records)
