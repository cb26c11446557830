"""The members of a plain tar, read from hostile headers.

``tarfile`` reads what the headers of POSIX.1-2001 and GNU announce into memory, and fails in many
ways on those that are damaged. Here they are bounded, and a header that cannot be read is where
the tar ends.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from shoal.errors import VideoBomb

MAX_HEADERS = 1_000_000
MAX_EXTENDED_BYTES = 1 << 20  # names and attributes of one member
MAX_NAME_CHARS = 1024  # with folders

BLOCK = tarfile.BLOCKSIZE
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_NAME_TYPES = (tarfile.GNUTYPE_LONGNAME,)
_OTHER_EXTENDED = (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)
_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")


class TarMember(NamedTuple):
    """A file in a tar: its name there and where its bytes lie, which may be beyond the end."""

    name: str
    offset: int
    size: int


class _Damaged(Exception):
    """A header that cannot be read."""


def is_tar(path: Path) -> bool:
    """Whether it is an uncompressed tar: 'ustar' at byte 257 (POSIX.1-1988 and later)."""
    with path.open("rb") as file:
        return file.read(262)[257:] == b"ustar"


class TarReader:
    """The regular files of a tar, in its order; links, devices and sparse files are left out.

    Attributes:
        ended: whether the block of zeros was reached that ends a whole tar.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.ended = False
        self._file = file
        self._at = 0  # the next header
        self._extended: dict[str, str] = {}  # of the next member

    def __iter__(self) -> Iterator[TarMember]:
        """
        Raises:
            VideoBomb: headers that are too long or too many.
        """
        for _ in range(MAX_HEADERS):
            try:
                header = self._header()
                if header is None:
                    return
                member = self._member(header)
            except _Damaged:
                return
            if member is not None:
                yield member
        raise VideoBomb(f"it is a tar of more than {MAX_HEADERS} members")

    def _header(self) -> tarfile.TarInfo | None:
        self._file.seek(self._at)
        block = self._file.read(BLOCK)
        if block == bytes(BLOCK):
            self.ended = True
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _Damaged from error
        self._at += BLOCK
        extended = block[482]  # more of a sparse file's map follows (GNU)
        while header.type == tarfile.GNUTYPE_SPARSE and extended:
            block = self._file.read(BLOCK)
            if len(block) < BLOCK:
                raise _Damaged
            self._at, extended = self._at + BLOCK, block[504]
        return header

    def _member(self, header: tarfile.TarInfo) -> TarMember | None:
        """What a header stands for, if that is a file; goes on to the next header."""
        if header.type in (*_PAX_TYPES, *_NAME_TYPES, *_OTHER_EXTENDED):
            self._extend(header)
            return None
        extended, self._extended = self._extended, {}
        size = _number(extended.get("size", str(header.size)))
        offset = self._at
        if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES:
            self._at += -(-size // BLOCK) * BLOCK
        name = extended.get("path", header.name)
        sparse = header.issparse() or any(key.startswith("GNU.sparse.") for key in extended)
        if not header.isreg() or sparse or len(name) > MAX_NAME_CHARS:
            return None
        return TarMember(name, offset, size)

    def _extend(self, header: tarfile.TarInfo) -> None:
        """Read a header that describes the next member."""
        size = _number(str(header.size))
        if size > MAX_EXTENDED_BYTES:
            raise VideoBomb(f"it is a tar with a header of {size} bytes before a member")
        data = self._file.read(size)
        self._at += -(-size // BLOCK) * BLOCK
        if len(data) < size:
            raise _Damaged
        if header.type in _NAME_TYPES:
            self._extended["path"] = data.split(b"\0")[0].decode("utf-8", "surrogateescape")
        elif header.type in _PAX_TYPES:
            self._extended |= _records(data)


def _records(data: bytes) -> dict[str, str]:
    """The records of a pax header: each is its length, a space, key, '=', value, newline."""
    records, position = {}, 0
    while position < len(data) and data[position]:
        found = _RECORD.match(data, position)
        length = int(found[1]) if found else 0
        record = data[position : position + length]
        if found is None or found.end() >= position + length or record[-1:] != b"\n":
            raise _Damaged
        value = record[found.end() - position : -1]
        records[found[2].decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position += length
    return records


def _number(text: str) -> int:
    """A size in bytes that a file system may have."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _Damaged
    return int(text)
