"""A client that costs little beside what it measures: HTTP/1.1 over connections that are kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status and body of a response."""

    status: int
    body: bytes

    def json(self) -> Any:
        """
        Raises:
            RuntimeError: it is no success.
        """
        if self.status >= 300:
            raise RuntimeError(f"{self.status}: {self.body[:300]!r}")
        return json.loads(self.body)


def encoded(method: str, path: str, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    """A request with a JSON body, or with none."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Connection:
    """One connection to 127.0.0.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20))

    @property
    def is_open(self) -> bool:
        return not self._reader.at_eof()

    async def send(self, request: bytes) -> Answer:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        return Answer(int(head.split(b" ", 2)[1]), await self._reader.readexactly(length))

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """What comes of a response that does not end, as it comes."""
        self._writer.write(encoded("GET", path))
        while chunk := await self._reader.read(2**20):
            yield chunk

    def close(self) -> None:
        self._writer.close()


class Pool:
    """Connections to one server: as many as there are requests at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []

    async def request(self, method: str, path: str, body: object = None) -> Answer:
        connection = next(self._usable(), None) or await Connection.open(self._port)
        content = b"" if body is None else json.dumps(body).encode()
        answer = await connection.send(encoded(method, path, content))
        self._idle.append(connection)
        return answer

    def _usable(self) -> Iterator[Connection]:
        while self._idle:
            if (connection := self._idle.pop()).is_open:  # the server ends those that rest
                yield connection
            else:
                connection.close()

    def close(self) -> None:
        for each in self._idle:
            each.close()
