"""Parses the Range header (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """``length`` bytes from byte ``start`` on."""

    start: int
    length: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


class Unsatisfiable(Exception):
    """The range is beyond the end of the file."""


def parse_range(header: str | None, size: int) -> Part | None:
    """The range a ``Range`` header asks for in a file of ``size`` bytes.

    Returns:
        ``None`` where the whole file is the answer: no header, several ranges, or not a range.

    Raises:
        Unsatisfiable
    """
    match = _ONE_RANGE.fullmatch((header or "").strip())
    first, last = match.groups() if match else ("", "")
    if not first and not last:
        return None
    if not first:  # the last so many bytes
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        if last and int(last) < start:
            return None
        length = min(int(last) if last else size, size - 1) - start + 1
    if length <= 0:
        raise Unsatisfiable
    return Part(start, length)
