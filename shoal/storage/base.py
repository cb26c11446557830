"""The interface of a storage. A URI names an object, or a folder of frames if it ends in /."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

MARKER = "shoal-job"  # object metadata of everything that Shoal writes to a bucket

VERSION, ETAG = "version:", "etag:"  # how versions in S3 begin

HASTY_S = 4.0  # what a call may take that somebody waits for

_hasty: ContextVar[bool] = ContextVar("hasty", default=False)


@contextmanager
def hastily() -> Iterator[None]:
    """Have the calls in here fail soon: somebody waits for them and can try again. The others try
    for a minute or two, as a video that was computed for an hour is worth it."""
    token = _hasty.set(True)
    try:
        yield
    finally:
        _hasty.reset(token)


def is_hasty() -> bool:
    return _hasty.get()


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as described by its storage.

    Attributes:
        uri: in the storage's canonical spelling.
        size: bytes; of a folder, the sum.
        version: changes when the content does.
        updated_at: seconds since the epoch; 0 where the storage was not asked.
        content_type, metadata: as the uploader set them, where the storage tells.
    """

    uri: str
    size: int
    version: str
    updated_at: float = 0.0
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def s3_version(version_id: str | None, etag: str) -> str:
    """The version of an S3 object, identical in a HEAD response, a listing and an event.

    Without versioning, the ID is missing, empty or "null", and the ETag identifies the content.
    """
    if version_id and version_id != "null":
        return VERSION + version_id
    return ETAG + etag.strip('"')


class Storage(Protocol):
    """One storage, such as a cloud's buckets.

    Every method raises ``SourceNotFound``, ``StorageForbidden``, ``StorageNotWritable``,
    ``DiskFull``, ``UnsupportedLocation`` (not a URI of this storage), or the transient
    ``StorageUnavailable`` and ``StorageThrottled``.
    """

    def stat(self, uri: str) -> ObjectInfo:
        """Size in bytes and version of an object, or of a folder of frames as a whole.

        Raises:
            SourceNotFound: there is no such object, or no frame in the folder.
        """
        ...

    def key(self, uri: str) -> str:
        """The path below the bucket or root; of an object, without its last suffix."""
        ...

    def fetch(self, uri: str, version: str, work_dir: Path) -> Path:
        """Download this version of an object, or a folder of frames.

        Returns:
            A path in ``work_dir``, or of a file storage the original path.

        Raises:
            SourceChanged: the object has another version.
        """
        ...

    def put(self, path: Path, uri: str, content_type: str) -> None:
        """Upload a local file atomically: readers see the whole file or none."""
        ...

    def read(self, uri: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Iterate over the content in chunks: ``length`` bytes from ``start``, or to the end."""
        ...

    def delete(self, uri: str) -> None:
        """Delete an object, or all objects directly in a folder; a missing one is no error."""
        ...

    def sweep(self, uri: str) -> None:
        """Delete the temporary files of interrupted uploads in a folder."""
        ...

    def entries(self, uri: str) -> Iterator[ObjectInfo]:
        """Iterate over the objects directly in a folder; empty if the folder does not exist."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate over all objects whose URI starts with ``prefix``, at any depth, page by page.

        The order is stable. Versions equal those of ``stat``.

        Args:
            prefix: start of the URI; of a file storage, a folder.
            after: continue after this URI of an earlier listing; it need not exist any more.
        """
        ...
