"""Hosts in what others write: URLs of callbacks, certificates of senders, Host headers.

One parser for all of them, so that no two parts of the house read one host in two ways.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

import idna

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_NAME_CHARS = 253  # RFC 1035, without the last dot
MAX_PORT = 65535
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Host:
    """A host by name or by address.

    Attributes:
        name: lower case, ASCII, without a last dot; of an address its usual spelling, an IPv6
            address without brackets.
        address: what it is a spelling of; ``None`` of a name.
    """

    name: str
    address: Address | None

    @property
    def is_loopback(self) -> bool:
        """Whether it can only mean this machine."""
        if self.address is None:
            return self.name == "localhost" or self.name.endswith(".localhost")
        inner = getattr(self.address, "ipv4_mapped", None) or self.address
        return bool(inner.is_loopback)


def parse_host(text: str) -> Host:
    """Read a host as it stands in a URL, IPv6 addresses in brackets.

    A name whose last label is a number is an IPv4 address, in any of the ways that ``inet_aton``
    reads, or nothing: that is how browsers take it (URL Standard, "ends in a number").

    Raises:
        ValueError: no host, or one that programs read in different ways: empty or long labels,
            characters beyond ASCII, zone ids, punycode that decodes to nothing.
    """
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    name = text.lower().removesuffix(".")
    if not name.isascii() or not name:
        raise ValueError(f"not a host: {text[:80]!r}")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(name, labels)
    if len(name) > MAX_NAME_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"not a host: {text[:80]!r}")
    for label in labels:
        if label.startswith("xn--"):
            _check_punycode(label)
    return Host(name, None)


def parse_netloc(text: str) -> tuple[Host, int | None]:
    """Read ``host`` or ``host:port``, as in a Host header.

    Raises:
        ValueError: as ``parse_host``; also where there is a user, or a port that is none.
    """
    end = text.find("]") + 1 if text.startswith("[") else text.find(":")
    host, rest = (text, "") if end < 0 else (text[:end], text[end:])
    if rest in ("", ":"):
        return parse_host(host), None
    if rest[0] != ":" or not _PORT.fullmatch(rest[1:]) or int(rest[1:]) > MAX_PORT:
        raise ValueError(f"not a host and port: {text[:80]!r}")
    return parse_host(host), int(rest[1:])


def host_of(url: str) -> str:
    """The host of a URL, for a log line or a count; empty where it has none that can be read."""
    netloc = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    try:
        return parse_netloc(netloc)[0].name
    except ValueError:
        return ""


def _ipv6(text: str) -> Host:
    if "%" in text:
        raise ValueError(f"a zone is no part of a host: {text[:80]!r}")
    address = ipaddress.IPv6Address(text)
    return Host(str(address), address)


def _ipv4(name: str, labels: list[str]) -> Host:
    if len(labels) > 4 or not all(map(_NUMBER.fullmatch, labels)):
        raise ValueError(f"not an IPv4 address: {name[:80]!r}")
    try:
        address = ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError as error:
        raise ValueError(f"not an IPv4 address: {name[:80]!r}") from error
    return Host(str(address), address)


def _check_punycode(label: str) -> None:
    try:
        idna.decode(label)
    except UnicodeError as error:
        raise ValueError(f"not an international name: {label[:80]!r}") from error
