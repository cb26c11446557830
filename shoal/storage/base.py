"""What every storage can do. A URI names an object, or with a / at its end a folder of frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

MARKER = "shoal-job"  # object metadata of everything that Shoal writes to a bucket

VERSION, ETAG = "version:", "etag:"  # how versions in S3 begin


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as its storage describes it.

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
    """The version of an object in S3, the same from a HEAD, a listing and an event.

    Without versioning the id is missing, empty or "null", and the ETag tells contents apart.
    """
    if version_id and version_id != "null":
        return VERSION + version_id
    return ETAG + etag.strip('"')


class Storage(Protocol):
    """Raises ``SourceNotFound``, ``StorageForbidden``, ``StorageNotWritable``, ``DiskFull``,
    ``StorageUnavailable`` or ``StorageThrottled``; the last two may be gone the next time."""

    def stat(self, uri: str) -> ObjectInfo: ...

    def key(self, uri: str) -> str:
        """The path below the bucket (or root); of an object, without its last suffix."""
        ...

    def fetch(self, uri: str, version: str, work_dir: Path) -> Path:
        """A local path with this version's content: in ``work_dir``, or where it already lies.

        Raises:
            SourceChanged: the object has another version by now.
        """
        ...

    def put(self, path: Path, uri: str, content_type: str) -> None:
        """Write a local file; a reader sees all of it or nothing."""
        ...

    def read(self, uri: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The content from byte ``start`` on, in chunks; of ``length`` bytes or to the end."""
        ...

    def delete(self, uri: str) -> None:
        """Remove an object, or all objects directly in a folder; none there is no error."""
        ...

    def sweep(self, uri: str) -> None:
        """Remove from a folder what uploads that were cut off have left there."""
        ...

    def entries(self, uri: str) -> Iterator[ObjectInfo]:
        """The objects directly in a folder; none if it is not there."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """All objects whose URI starts with ``prefix``, however deep, a page at a time.

        Versions are those that ``stat`` gives. Of a file storage ``prefix`` is a folder. The order
        is always the same, so ``after``, the URI of an object that a listing gave, leads to what
        comes after it, whether or not it is still there.
        """
        ...
