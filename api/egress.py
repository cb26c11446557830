"""Requests to addresses that a user gave: to public hosts only, or to those that are allowed.

A name is resolved once, every address it has is checked, and the connection goes to one of these
very addresses: what the name means a moment later (DNS rebinding) does not matter. Redirects are
answers like any other, and proxies from the environment are not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore

from shoal.targets import Targets

Resolve = Callable[[str, int], Sequence[str]]

TIMEOUT_S = 20.0  # of a request, all in all


class NoAnswer(Exception):
    """The receiver was not reached, or did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """Of an HTTP answer what matters; its body is not read."""

    status: int
    retry_after_s: float


class Egress:
    """POSTs to URLs that a user gave.

    Args:
        allow: hosts by name, and networks, that may be private.
        resolve: the addresses of a host; the system's resolver if not given.
    """

    def __init__(self, allow: Iterable[str], resolve: Resolve | None = None) -> None:
        self._targets = Targets(allow)
        self._resolve = resolve or _resolve

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request, and return when the head of the answer is there.

        Raises:
            InvalidCallback, CallbackForbidden: it was not sent.
            NoAnswer
        """
        parsed = self._targets.check(url)
        guard = _Guard(lambda host, port: self._addresses(host, port), TIMEOUT_S)
        target = httpcore.URL(
            scheme=parsed.raw_scheme,
            host=parsed.raw_host,
            port=parsed.port,
            target=parsed.raw_path,
        )
        head: dict[bytes | str, bytes | str] = {
            "Host": parsed.netloc,
            "Content-Length": str(len(body)),
        }
        head.update(headers.items())
        each = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=_tls(), network_backend=guard) as pool,
                pool.stream(
                    "POST", target, headers=head, content=body, extensions={"timeout": each}
                ) as response,
            ):
                return Answer(response.status, _retry_after(response.headers))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            words = str(error) or type(error).__name__
            raise NoAnswer(f"no answer from {parsed.host}: {words}") from error

    def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses to connect to, all of them checked."""
        found = self._resolve(host, port)
        for text in found:
            self._targets.check_address(host, ipaddress.ip_address(text.partition("%")[0]))
        return list(found)


class _Guard(httpcore.NetworkBackend):
    """Connects to checked addresses, within one deadline. TLS still asks for the name."""

    def __init__(self, addresses: Callable[[str, int], list[str]], seconds: float) -> None:
        self._addresses = addresses
        self._deadline = time.monotonic() + seconds
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
        except OSError as error:
            raise httpcore.ConnectError(f"the name cannot be resolved: {error}") from error
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses:
            try:
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
        raise httpcore.ReadTimeout("it took too long")
    return left


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Seconds; 0 where the receiver says nothing, or names a date."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return min(float(value), 24 * 3600)
    return 0.0


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
