"""What every storage can do. A URI names an object, or with a / at its end a folder of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as its storage describes it.

    Attributes:
        uri: in the storage's canonical spelling.
        size: bytes; of a folder, the sum.
        version: changes when the content does.
    """

    uri: str
    size: int
    version: str


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
