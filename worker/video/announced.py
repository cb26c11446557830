"""What a file's own structure says about its size: whether it was cut off, and what follows it.

Only headers are read, by the sizes that they give; nothing of it reaches a decoder.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 100_000  # of an mp4's top level: a fragment has two
EBML_SEGMENT = bytes.fromhex("18538067")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@dataclass(frozen=True, slots=True)
class Structure:
    """What the headers of a file tell.

    Attributes:
        bytes_missing: by how much the file is shorter than they say; None where they say nothing.
        begins_again: whether another file of the kind follows behind the first.
    """

    bytes_missing: int | None = None
    begins_again: bool = False


def structure_of(path: Path, format_name: str) -> Structure:
    """Look at the headers of a file.

    Args:
        format_name: FFmpeg's name of the container's format.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if "mp4" in format_name:
            return _boxes(file, size)
        missing = None
        if format_name == "avi":
            missing = _riff(file, size)
        elif "matroska" in format_name:
            missing = _ebml(file, size)
        elif format_name == "flv":
            missing = _flv(file, size)
        elif format_name == "asf":
            missing = _asf(file, size)
        return Structure(missing)


def _boxes(file: BinaryIO, size: int) -> Structure:
    """ISO/IEC 14496-12, 4.2."""
    position, indexes = 0, 0
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length == 0:
            position = size
        elif length < 8:
            break
        indexes += header[4:8] == b"moov"
        position += length
    return Structure(max(0, position - size), indexes > 1)


def _riff(file: BinaryIO, size: int) -> int | None:
    """One RIFF list after the other (OpenDML); a recorder that was cut off may leave no size."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(12)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF":
            break  # something was put behind it
        if length < 16 or length == 0xFFFFFFFF:
            return None
        position += 8 + length + length % 2
    return max(0, position - size - 1) if position > size + 1 else 0


def _ebml(file: BinaryIO, size: int) -> int | None:
    """RFC 8794: the header, then the segment; a live one is of unknown size."""
    position = 0
    for _ in range(4):
        file.seek(position)
        head = file.read(12)
        if len(head) < 12:
            return None
        id_bytes = _vint_bytes(head[0])
        size_bytes = _vint_bytes(head[id_bytes]) if id_bytes <= 4 else 9
        if size_bytes > 8:
            return None
        raw = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big")
        length = raw & ((1 << 7 * size_bytes) - 1)
        if length == (1 << 7 * size_bytes) - 1:
            return None
        position += id_bytes + size_bytes + length
        if head[:4] == EBML_SEGMENT:
            return max(0, position - size)
    return None


def _vint_bytes(first: int) -> int:
    """Length of a variable-size integer, by its first byte; 9 if there is none."""
    return 9 - first.bit_length()


def _flv(file: BinaryIO, size: int) -> int | None:
    """Each tag is followed by its size: one that does not fit was cut. How much is not known."""
    file.seek(0)
    head = file.read(4096)
    at = head.find(b"\x00\x08filesize\x00")
    announced = _double(head[at + 11 : at + 19]) if at >= 0 else 0.0
    if announced > size:
        return int(announced) - size
    file.seek(max(0, size - 4))
    length = int.from_bytes(file.read(4), "big")
    if length + 4 > size:
        return 1
    file.seek(size - 4 - length)
    tag = file.read(4)
    return 0 if int.from_bytes(tag[1:4], "big") + 11 == length else 1


def _double(data: bytes) -> float:
    value = struct.unpack(">d", data)[0] if len(data) == 8 else 0.0
    return float(value) if 0 <= value < 2**62 else 0.0


def _asf(file: BinaryIO, size: int) -> int | None:
    """The file properties object: GUID, size, file id, then the file's size."""
    file.seek(0)
    head = file.read(8192)
    at = head.find(ASF_FILE_PROPERTIES)
    if at < 0:
        return None
    announced = int.from_bytes(head[at + 40 : at + 48], "little")
    is_live = bool(head[at + 88 : at + 89] and head[at + 88] & 1)
    return max(0, announced - size) if announced and not is_live else None
