"""Where URLs of users may lead, webhooks and videos: to public hosts, or to those allowed.

URLs are user input. What can be told from one alone is told here, when it is submitted or when the
rules are loaded; who connects (``api.webhook_client``, ``shoal.storage.https``) checks the
addresses of its host, too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

import httpx

from shoal.errors import (
    CallbackForbidden,
    CallbacksOff,
    InvalidCallback,
    RequestError,
    SourceForbidden,
    UnsupportedLocation,
)
from shoal.hosts import Address, Host, parse_host, parse_netloc
from shoal.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FIRST_FREE_PORT = 1024  # below, only the two of HTTP: mail, ssh and the like stay out of reach
_LETTERS_OF_A_URL = re.compile(r"[!-~]+")  # printable ASCII without the space
_NETLOC = re.compile(r"https?://([^/?#]+)", re.IGNORECASE)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

# Public by their number, and yet the inside of a cloud or of a site.
_INNER: tuple[Network, ...] = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's host, which hands out credentials
    ipaddress.ip_network("192.0.0.0/24"),  # protocols' own; Oracle's metadata is at 192.0.0.192
    ipaddress.ip_network("fec0::/10"),  # site-local, as private addresses were called before
    ipaddress.ip_network("64:ff9b:1::/48"),  # a site's own NAT64
)


class Use(NamedTuple):
    """What URLs are for: how messages call them, and the errors that refuse them."""

    name: str
    max_chars: int
    invalid: type[RequestError]
    forbidden: type[RequestError]


WEBHOOK = Use("webhook URL", 2000, InvalidCallback, CallbackForbidden)
VIDEO = Use("URL of the video", 4096, UnsupportedLocation, SourceForbidden)


class UrlPolicy:
    """Tells where URLs may lead.

    Args:
        allow: hosts by name, and networks, that may be private.
    """

    def __init__(self, allow: Iterable[str], use: Use = WEBHOOK) -> None:
        self._use = use
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
                programs; of a video's URL ``UnsupportedLocation``.
            CallbackForbidden: an address that is not public; of a video's URL ``SourceForbidden``.
        """
        parsed, host, port = _parse(url, self._use)
        if host.address:
            self.check_address(parsed.raw_host.decode(), host.address)
        if port is None:
            port = 443 if parsed.scheme == "https" else 80
        usual = port in (80, 443) or port >= FIRST_FREE_PORT
        if not usual and not self._is_allowed(host, host.address):
            raise self._use.invalid(f"{self._use.name}: port {port} is not allowed")
        return parsed

    def check_address(self, written: str, address: Address) -> None:
        """
        Args:
            written: the host as it was given, by name or in any spelling of an address.

        Raises:
            InvalidCallback: not a host.
            CallbackForbidden
            or the errors of another use.
        """
        host = _host(written, self._use)
        if self._is_allowed(host, address) or _is_public(address):
            return
        if host.address is None:
            raise self._use.forbidden(
                f"{host.name!r} resolves to {address}, which is not a public address"
            )
        spelled = "" if written.strip("[].") == str(address) else f", written as {written!r}"
        raise self._use.forbidden(f"{address} is not a public address{spelled}")

    def allows(self, written: str, address: Address) -> bool:
        """Whether a host is one of those that are allowed, by its name or address."""
        return self._is_allowed(_host(written, self._use), address)

    def _is_allowed(self, host: Host, address: Address | None) -> bool:
        return host.name in self._names or any(
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
        raise CallbacksOff("webhooks are disabled: SHOAL_CALLBACK_SECRET is not set")
    UrlPolicy(settings.callback_allow).check(url)


def _parse(url: str, use: Use) -> tuple[httpx.URL, Host, int | None]:
    """
    Raises:
        RequestError: that of the use.
    """
    if len(url) > use.max_chars:
        raise use.invalid(f"the {use.name} is longer than {use.max_chars} characters")
    # A backslash is a slash to some programs and not to others, and so on: none of it is needed.
    if not _LETTERS_OF_A_URL.fullmatch(url) or "\\" in url:
        raise use.invalid(f"the {use.name} contains invalid characters")
    netloc = _NETLOC.match(url)
    if not netloc:
        raise use.invalid(f"the {use.name} must be an http:// or https:// URL with a host")
    if "@" in netloc[1]:
        raise use.invalid(f"the {use.name} must not contain a user name or password")
    try:
        host, port = parse_netloc(netloc[1])
        return httpx.URL(url), host, port
    except (httpx.InvalidURL, ValueError) as error:
        raise use.invalid(f"the {use.name} is invalid: {error}") from error


def _host(text: str, use: Use) -> Host:
    """
    Raises:
        RequestError: that of the use.
    """
    try:
        return parse_host(f"[{text}]" if ":" in text and text[0] != "[" else text)
    except ValueError as error:
        raise use.invalid(f"the host of the {use.name} cannot be read: {error}") from error


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
