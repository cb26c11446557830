"""Storage by URI scheme."""

from __future__ import annotations

from urllib.parse import urlsplit

from shoal.errors import UnsupportedLocation
from shoal.settings import Settings
from shoal.storage.base import ObjectInfo, Storage
from shoal.storage.files import FileStorage

__all__ = ["ObjectInfo", "Storage", "storage_for"]


def storage_for(uri: str, settings: Settings) -> Storage:
    """The storage that serves ``uri``.

    Raises:
        UnsupportedLocation: no storage has this scheme.
    """
    scheme = urlsplit(uri).scheme
    if scheme == "file":
        return FileStorage(settings.readable_roots)
    named = f"{scheme}://" if scheme else "a path without a scheme"
    raise UnsupportedLocation(f"cannot read from {named}: {uri}")
