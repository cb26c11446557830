"""Where a callback may go: to public hosts only, or to those that are allowed.

URLs are user input. What can be told from one alone is told here, when it is submitted or when the
rules are loaded; ``api.egress`` checks the addresses of its host, too, when it connects.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

import httpx

from shoal.errors import CallbackForbidden, CallbacksOff, InvalidCallback
from shoal.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_CHARS = 2000
FIRST_FREE_PORT = 1024  # below, only the two of HTTP: mail, ssh and the like stay out of reach
_LETTERS_OF_A_URL = re.compile(r"[!-~]+")  # printable ASCII without the space
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

# Public by their number, and yet the inside of a cloud or of a site.
_INNER: tuple[Network, ...] = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's host, which hands out credentials
    ipaddress.ip_network("192.0.0.0/24"),  # protocols' own; Oracle's metadata is at 192.0.0.192
    ipaddress.ip_network("fec0::/10"),  # site-local, as private addresses were called before
    ipaddress.ip_network("64:ff9b:1::/48"),  # a site's own NAT64
)


class Targets:
    """Tells where callbacks may go.

    Args:
        allow: hosts by name, and networks, that may be private.
    """

    def __init__(self, allow: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for entry in allow:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                self._names.add(entry.lower().rstrip("."))

    def check(self, url: str) -> httpx.URL:
        """What can be told without asking the DNS.

        Raises:
            InvalidCallback: not an http(s) URL, or one that is read differently by different
                programs.
            CallbackForbidden: an address that is not public.
        """
        parsed = _parse(url)
        if address := _literal(parsed.host):
            self.check_address(parsed.host, address)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        usual = port in (80, 443) or port >= FIRST_FREE_PORT or self._is_allowed(parsed.host)
        if not usual or port > 65535:
            raise InvalidCallback(f"a callback to port {port} is not allowed")
        return parsed

    def check_address(self, host: str, address: Address) -> None:
        """
        Raises:
            CallbackForbidden
        """
        if self._is_allowed(host, address) or _is_public(address):
            return
        if _literal(host):
            written = "" if host.rstrip(".") == str(address) else f", written as {host!r}"
            raise CallbackForbidden(f"{address} is not a public address{written}")
        raise CallbackForbidden(f"{host!r} means {address}, which is not a public address")

    def _is_allowed(self, host: str, address: Address | None = None) -> bool:
        address = address or _literal(host)
        return host.lower().rstrip(".") in self._names or any(
            inner in network
            for network in self._networks
            for inner in (_unwrapped(address) if address else ())
        )


def check_callback(url: str, settings: Settings) -> None:
    """
    Raises:
        CallbacksOff: nothing to sign with.
        InvalidCallback, CallbackForbidden
    """
    if not url:
        return
    if not settings.callback_secret:
        raise CallbacksOff("no callbacks are sent: SHOAL_CALLBACK_SECRET is not set")
    Targets(settings.callback_allow).check(url)


def _parse(url: str) -> httpx.URL:
    if len(url) > MAX_URL_CHARS:
        raise InvalidCallback(f"the callback's URL is longer than {MAX_URL_CHARS} characters")
    # A backslash is a slash to some programs and not to others, and so on: none of it is needed.
    if not _LETTERS_OF_A_URL.fullmatch(url) or "\\" in url:
        raise InvalidCallback("the callback's URL holds characters that a URL has not")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidCallback(f"the callback is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidCallback("the callback is not an http:// or https:// URL with a host")
    if parsed.userinfo or "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidCallback("the callback's URL holds a user name or password")
    return parsed


def _literal(host: str) -> Address | None:
    """The address that a host is; also in the old ways to write one, such as 0x7f.1."""
    host = host.rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _unwrapped(address: Address) -> list[Address]:
    """The address, and the IPv4 ones that it carries inside."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    found: list[Address] = [carried for carried in inner if carried]
    # A mapped address is the one inside; the others lead through a gateway to both.
    return found if address.ipv4_mapped else [address, *found]


def _is_public(address: Address) -> bool:
    return all(
        inner.is_global
        and not (inner.is_multicast or inner.is_reserved)
        and not any(inner in network for network in _INNER)
        for inner in _unwrapped(address)
    )
