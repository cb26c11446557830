"""Patterns of object keys: ``*`` within a part of the path, ``**`` over any number of parts."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import lru_cache
from urllib.parse import unquote

MAX_URI_CHARS = 4096
MAX_DEEP = 4
WILD = re.compile(r"[*?\[]")


def check(pattern: str) -> None:
    """
    Raises:
        ValueError: a range in it runs backwards, as in ``[b-a]``.
    """
    for part in pattern.split("/"):
        _pieces(part)  # compiled when it is used: that takes longer


def matches(pattern: str, key: str) -> bool:
    """Whether a key matches, as shells with ``globstar`` understand a pattern.

    ``*`` and ``?`` and ``[a-z]`` (``[!a-z]``: not one of these) stop at a slash; a part that is
    ``**`` stands for any number of parts, also none; at the end, for everything below.

    The pattern is worked off part by part from its end, each against the names of the key before
    which the rest of the pattern matches: no more steps than parts times names.
    """
    names, parts = key.split("/"), pattern.split("/")
    places = {len(names)}  # the rest of the pattern matches names[place:]
    for number in reversed(range(len(parts))):
        if parts[number] == "**":
            places = _behind_any(names, places, is_last=number == len(parts) - 1)
        else:
            part = _compiled(parts[number])
            places = {at - 1 for at in places if at and part.fullmatch(names[at - 1])}
        if not places:
            return False
    return 0 in places


def _behind_any(names: Sequence[str], places: Set[int], *, is_last: bool) -> set[int]:
    """The places from which any number of names leads to one of ``places``.

    One name that is empty is no part: ``a/**/b`` is not ``a//b``, and ``a/**`` is not ``a/``.
    """
    far = max(places)
    found = set(range(far - 1)) | (set() if is_last else set(places))
    return found | {at - 1 for at in places if at and names[at - 1]}


def literal_prefix(pattern: str) -> str:
    """What every key that matches begins with: where a listing starts."""
    found = WILD.search(pattern)
    return pattern[: found.start()] if found else pattern


class UriPattern:
    """Objects by a URI with wildcards, such as ``gs://matches/2024/**/*.mp4``.

    Attributes:
        folder: what it has before the wildcards, up to a slash.
        below: the pattern of the rest; of a folder, all that is in it.

    Raises:
        ValueError: no scheme, no bucket, or wildcards in them.
    """

    def __init__(self, pattern: str) -> None:
        scheme, found, rest = pattern.partition("://")
        literal = literal_prefix(rest)
        if not found or "/" not in literal or (literal[0] == "/" and scheme != "file"):
            raise ValueError(f"not a pattern such as gs://bucket/**/*.mp4: {pattern!r}")
        if len(pattern) > MAX_URI_CHARS:
            raise ValueError(f"a pattern must have at most {MAX_URI_CHARS} characters")
        if rest.split("/").count("**") > MAX_DEEP:
            raise ValueError(f"a pattern may contain '**' at most {MAX_DEEP} times: {pattern!r}")
        self.is_file = scheme == "file"
        folder = literal[: literal.rindex("/") + 1]
        self.folder = f"{scheme}://{folder}"
        below = unquote(rest[len(folder) :]) if self.is_file else rest[len(folder) :]
        self.below = below + "**" if not below or below.endswith("/") else below
        check(self.below)

    @property
    def prefix(self) -> str:
        """Where a listing starts: of files, at a folder."""
        return self.folder + ("" if self.is_file else literal_prefix(self.below))

    def matches(self, uri: str, folder: str = "") -> bool:
        """``folder``: under which URI the listing shows the pattern's own folder."""
        key = uri.removeprefix(folder or self.folder)
        return matches(self.below, unquote(key) if self.is_file else key)


def reaches(pattern: str, folder: str, depth: int) -> bool:
    """Whether the pattern could match a key that lies at least ``depth`` parts below a folder.

    ``folder`` is a literal path, empty for the top. When in doubt the answer is yes.
    """
    wanted = pattern.split("/")
    for part in filter(None, folder.split("/")):
        if not wanted:
            return False
        if wanted[0] == "**":
            return True
        if not _compiled(wanted.pop(0)).fullmatch(part):
            return False
    return "**" in wanted or len(wanted) >= depth


@lru_cache(maxsize=4096)
def _compiled(part: str) -> re.Pattern[str]:
    """One part of a pattern, between two slashes, as a regular expression that never backtracks.

    Between two stars the first place where a piece fits is as good as any, so none other is tried
    (atomic groups); the last piece has a length and so stands in one place only.

    Raises:
        ValueError: a range in it runs backwards.
    """
    first, *between = _pieces(part)
    text = "".join(first)
    if between:
        *others, last = between
        text += "".join(f"(?>.*?{''.join(piece)})" for piece in others if piece)
        text += f".{{{len(last)},}}+" + (f"(?<={''.join(last)})" if last else "")
    return re.compile(text, re.DOTALL)


def _pieces(part: str) -> list[list[str]]:
    """What stands between the stars, each character or class as a regular expression."""
    pieces: list[list[str]] = [[]]
    position = 0
    while position < len(part):
        char = part[position]
        position += 1
        if char == "*":
            pieces.append([])
        elif char == "?":
            pieces[-1].append(".")
        elif char == "[" and (end := part.find("]", position + 1)) > 0:
            pieces[-1].append(_class(part[position:end]))
            position = end + 1
        else:
            pieces[-1].append(re.escape(char))
    return pieces


def _class(chars: str) -> str:
    """A class of characters, given without its brackets."""
    inner = chars.removeprefix("!")
    text, position = "", 0
    while position < len(inner):
        first = last = inner[position]
        if inner[position + 1 : position + 2] == "-" and position + 2 < len(inner):
            last = inner[position + 2]
            position += 2
        if first > last:
            raise ValueError(f"invalid pattern: [{chars}] has a range that runs backwards")
        text += f"{re.escape(first)}-{re.escape(last)}"
        position += 1
    if not text:
        return "."
    return f"[^{text}]" if inner != chars else f"[{text}]"
