"""Requests to addresses that a user gave: to public hosts only, or to those that are allowed.

Redirects are answers like any other; ``shoal.egress`` makes the connections.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpcore

from shoal import egress
from shoal.hosts import host_of
from shoal.url_policy import UrlPolicy

TIMEOUT_S = 20.0  # of a request in total


class NoAnswer(Exception):
    """The receiver could not be reached, or did not respond in time."""


@dataclass(frozen=True)
class Answer:
    """Of an HTTP answer what matters; its body is not read."""

    status: int
    retry_after_s: float


class WebhookClient:
    """POSTs to URLs that a user gave.

    Args:
        allow: hosts by name, and networks, that may be private.
        resolve: the addresses of a host; the system's resolver if not given.
    """

    def __init__(self, allow: Iterable[str], resolve: egress.Resolve | None = None) -> None:
        self._targets = UrlPolicy(allow)
        self._resolve = resolve or egress.resolve

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request, and return when the head of the answer is there.

        Raises:
            InvalidCallback, CallbackForbidden: it was not sent.
            NoAnswer
        """
        parsed = self._targets.check(url)
        guard = egress.Guard(lambda host, port: self._addresses(host, port), TIMEOUT_S)
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
                httpcore.ConnectionPool(ssl_context=egress.tls(), network_backend=guard) as pool,
                pool.stream(
                    "POST", target, headers=head, content=body, extensions={"timeout": each}
                ) as response,
            ):
                return Answer(response.status, _retry_after(response.headers))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            words = str(error) or type(error).__name__
            raise NoAnswer(f"no response from {host_of(url)}: {words}") from error

    def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses to connect to, all of them checked."""
        found = self._resolve(host, port)
        for text in found:
            self._targets.check_address(host, ipaddress.ip_address(text.partition("%")[0]))
        return list(found)


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Seconds; 0 where the receiver says nothing, or names a date."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return min(float(value), 24 * 3600)
    return 0.0
