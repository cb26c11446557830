"""Storage by URI scheme."""

from __future__ import annotations

import re

from shoal.errors import UnsupportedLocation
from shoal.settings import Settings
from shoal.storage.base import ObjectInfo, Storage
from shoal.storage.buckets import BucketStorage
from shoal.storage.files import FileStorage

__all__ = ["ObjectInfo", "Storage", "bucket_for", "storage_for"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def storage_for(uri: str, settings: Settings) -> Storage:
    """The storage that serves ``uri``.

    Raises:
        UnsupportedLocation: no storage has this scheme.
    """
    found = _SCHEME.match(uri)
    scheme = found[1].lower() if found else ""
    if scheme == "file":
        return FileStorage(settings.readable_roots)
    if scheme in ("https", "http"):
        from shoal.storage.https import HttpsStorage

        return HttpsStorage(settings.source_allow)
    try:
        if scheme == "gs":
            from shoal.storage.gcs import GoogleStorage

            return GoogleStorage()
        if scheme == "s3":
            from shoal.storage.s3 import S3Storage

            return S3Storage()
        if scheme == "az":
            from shoal.storage.azure import AzureStorage

            return AzureStorage()
    except ImportError as error:
        extra = {"gs": "gcs", "s3": "s3", "az": "azure"}[scheme]
        raise UnsupportedLocation(
            f"{error.name} is not installed, required for {uri}",
            hint=f"Run pip install '.[{extra}]' in a checkout.",
        ) from error
    named = f"{scheme}://" if scheme else "a path without a scheme"
    raise UnsupportedLocation(f"cannot read from {named}: {uri!r}")


def bucket_for(uri: str, settings: Settings) -> BucketStorage:
    """As ``storage_for``, of a URI in a bucket.

    Raises:
        UnsupportedLocation: it is in none.
    """
    storage = storage_for(uri, settings)
    if not isinstance(storage, BucketStorage):
        raise UnsupportedLocation(f"not in a bucket: {uri!r}")
    return storage
