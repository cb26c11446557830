"""File names and object keys that fit where they have to go."""

from __future__ import annotations

import hashlib

MAX_FILE_NAME_BYTES = 255  # of every usual file system
MAX_KEY_BYTES = 1024  # of an object in S3 and in Google Cloud Storage
MAX_UPLOAD_NAME_BYTES = 180  # of ``PUT /uploads/{name}``
HASH_CHARS = 12


def fit(name: str, most: int) -> str:
    """The name itself if it has at most ``most`` bytes of UTF-8, else its beginning and a hash.

    The hash is of the whole name, so names that differ only at their ends stay apart. The same
    name always gives the same result, and no character is cut in half.
    """
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= most:
        return name
    mark = "-" + hashlib.sha256(data).hexdigest()[:HASH_CHARS]
    return data[: most - len(mark)].decode("utf-8", "ignore") + mark


def fit_file(name: str, most: int) -> str:
    """As ``fit``, of a file name that keeps its suffix."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > HASH_CHARS:
        return fit(name, most)
    return fit(stem, most - len((dot + suffix).encode())) + dot + suffix
