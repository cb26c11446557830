"""Connections to hosts that a user named, to checked addresses only.

A name is resolved once, every address it has is checked, and the connection goes to one of these
very addresses: what the name means a moment later (DNS rebinding) does not matter. TLS still asks
for the name. Proxies from the environment are not used.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import httpcore

Resolve = Callable[[str, int], Sequence[str]]


class Guard(httpcore.NetworkBackend):
    """Connects to checked addresses.

    Args:
        addresses: of a host and port those to connect to, all of them checked.
        seconds: for all that is done over it; without, each step has the client's own limit.
    """

    def __init__(
        self, addresses: Callable[[str, int], Sequence[str]], seconds: float | None = None
    ) -> None:
        self._addresses = addresses
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._addresses(host, port)
        except (OSError, UnicodeError) as error:  # the latter of a name that IDNA cannot encode
            raise httpcore.ConnectError(f"could not resolve host: {error}") from error
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses:
            try:
                if self._deadline is None:
                    return self._plain.connect_tcp(address, port, timeout)
                stream = self._plain.connect_tcp(address, port, _left(self._deadline))
                return _Timed(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Timed(httpcore.NetworkStream):
    """A connection whose every step ends at one deadline, however slowly bytes drip in."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Timed(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("timed out")
    return left


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver knows them.

    Raises:
        OSError: it knows none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@cache
def tls() -> ssl.SSLContext:
    return ssl.create_default_context()
