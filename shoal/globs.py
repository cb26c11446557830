"""Patterns of object keys: ``*`` within a part of the path, ``**`` over any number of parts."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

MAX_URI_CHARS = 4096
MAX_DEEP = 4
WILD = re.compile(r"[*?\[]")


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern, as shells with ``globstar`` understand it.

    ``*`` and ``?`` and ``[a-z]`` (``[!a-z]``: not one of these) stop at a slash; a part that is
    ``**`` stands for any number of parts, also none; at the end, for everything below.
    """
    parts = pattern.split("/")
    last = len(parts) - 1
    text = ""
    for number, part in enumerate(parts):
        if part == "**":
            text += ".+" if number == last else "(?:.+/)?"
        else:
            text += _part(part) + ("" if number == last else "/")
    return re.compile(text, re.DOTALL)


def matches(pattern: str, key: str) -> bool:
    return compiled(pattern).fullmatch(key) is not None


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
            raise ValueError(f"not a bucket and a pattern, as in gs://bucket/**/*.mp4: {pattern!r}")
        if len(pattern) > MAX_URI_CHARS:
            raise ValueError(f"a pattern has at most {MAX_URI_CHARS} characters")
        if rest.split("/").count("**") > MAX_DEEP:  # each is one more loop over the key
            raise ValueError(f"a pattern has '**' {MAX_DEEP} times at most: {pattern!r}")
        self.is_file = scheme == "file"
        folder = literal[: literal.rindex("/") + 1]
        self.folder = f"{scheme}://{folder}"
        below = unquote(rest[len(folder) :]) if self.is_file else rest[len(folder) :]
        self.below = below + "**" if not below or below.endswith("/") else below
        try:
            compiled(self.below)
        except re.error as error:
            raise ValueError(f"not a pattern: {pattern!r}: {error}") from error

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
        if not compiled(wanted.pop(0)).fullmatch(part):
            return False
    return "**" in wanted or len(wanted) >= depth


def _part(pattern: str) -> str:
    """One part of a path, between two slashes."""
    pieces, position = [""], 0  # what stands between the stars
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "[" and (end := pattern.find("]", position + 1)) > 0:
            chars = pattern[position:end]
            negated = chars.startswith("!")
            inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", chars.removeprefix("!"))
            pieces[-1] += f"[^/{inner}]" if negated else f"(?!/)[{inner}]"
            position = end + 1
        else:
            pieces[-1] += re.escape(char)
    first, *between = pieces
    if not between:
        return first
    # As fnmatch does: the first place where a piece fits is as good as any, so none other is tried
    # (atomic groups), and no pattern takes longer than a few passes over the name.
    *others, last = between
    return first + "".join(f"(?>[^/]*?{piece})" for piece in others if piece) + f"[^/]*{last}"
