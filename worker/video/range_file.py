"""A file that another process reads for this one, range by range, over a socket.

A request is an offset and a length, the answer so many bytes, or fewer at the end of the file.
"""

from __future__ import annotations

import io
import socket
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

RANGE = b"R"  # what a request begins with
REQUEST = struct.Struct(">QI")  # offset and length in bytes
BLOCK = 256 << 10
MAX_BLOCKS = 16  # asked for at once, where one block after the other is read
KEPT_BLOCKS = 128


class RangeFile(io.RawIOBase):
    """Reads whole blocks and keeps the latest ones; ``io.BufferedReader`` gives it the rest."""

    def __init__(self, line: socket.socket, size: int) -> None:
        self._line = line
        self._size = size
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._next = -1  # the block after those asked for last
        self._ahead = 1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size:
            return 0
        number, offset = divmod(self._at, BLOCK)
        data = self._block(number)[offset : offset + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._load(number)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _load(self, number: int) -> None:
        self._ahead = min(2 * self._ahead, MAX_BLOCKS) if number == self._next else 1
        start = number * BLOCK
        length = min(self._ahead * BLOCK, self._size - start)
        self._line.sendall(RANGE + REQUEST.pack(start, length))
        data = receive(self._line, length)
        for n in range(-(-length // BLOCK)):
            self._blocks[number + n] = data[n * BLOCK : (n + 1) * BLOCK]
        self._next = number + -(-length // BLOCK)
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)


def receive(line: socket.socket, length: int) -> bytes:
    """So many bytes.

    Raises:
        EOFError: the other side is gone.
        TimeoutError: the socket's time is over.
    """
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = line.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)
