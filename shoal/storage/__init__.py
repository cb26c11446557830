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
    scheme = uri.partition("://")[0] if "://" in uri else urlsplit(uri).scheme
    if scheme == "file":
        return FileStorage(settings.readable_roots)
    try:
        if scheme == "gs":
            from shoal.storage.gcs import GoogleStorage

            return GoogleStorage()
        if scheme == "s3":
            from shoal.storage.s3 import S3Storage

            return S3Storage()
    except ImportError as error:
        extra = {"gs": "gcs", "s3": "s3"}[scheme]
        raise UnsupportedLocation(
            f"{error.name} is missing for {uri}", hint=f"pip install 'shoal[{extra}]'"
        ) from error
    named = f"{scheme}://" if scheme else "a path without a scheme"
    raise UnsupportedLocation(f"cannot read from {named}: {uri}")
