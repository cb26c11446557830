"""What ``gs://`` and ``s3://`` have in common: names, folders of frames, pinned versions."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

from shoal.errors import SourceChanged, SourceNotFound, UnsupportedLocation
from shoal.frames import SUFFIXES, natural_key
from shoal.storage.base import ObjectInfo
from shoal.storage.files import writing

CHUNK = 1 << 20
PART_BYTES = 32 << 20  # of a download or an upload that runs in parallel parts
PARALLEL = 8


class Address(NamedTuple):
    """A parsed URI. Keys are taken as they are written: they are not percent-encoded."""

    bucket: str
    key: str

    @property
    def is_folder(self) -> bool:
        return self.key.endswith("/")


class BucketStorage(ABC):
    """Objects in buckets. A subclass talks to one provider.

    ``errors`` gives the provider's faults their names; the rest is here.
    """

    scheme: str

    def address(self, uri: str) -> Address:
        """
        Raises:
            UnsupportedLocation: no bucket or no key in it.
        """
        address = self._split(uri)
        if not address.bucket or not address.key:
            raise UnsupportedLocation(
                f"not an object's URI: {uri}", hint=f"It looks like {self.scheme}://bucket/key."
            )
        return address

    def _split(self, uri: str) -> Address:
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        return Address(bucket if scheme == self.scheme else "", key)

    def uri(self, address: Address) -> str:
        return f"{self.scheme}://{address.bucket}/{address.key}"

    # --- Storage ---------------------------------------------------------------------------------

    def stat(self, uri: str) -> ObjectInfo:
        address = self.address(uri)
        with self.errors(uri):
            if not address.is_folder:
                return self._head(address)
            return _folder_info(uri, self._pictures(address))

    def key(self, uri: str) -> str:
        address = self.address(uri)
        if address.is_folder:
            return address.key.rstrip("/")
        return PurePosixPath(address.key).with_suffix("").as_posix()

    def fetch(self, uri: str, version: str, work_dir: Path) -> Path:
        address = self.address(uri)
        with writing(str(work_dir)), self.errors(uri):
            if address.is_folder:
                return self._fetch_folder(uri, address, version, work_dir)
            # The key is somebody else's: no part of it but the suffix gets into a path of ours.
            path = work_dir / f"source{PurePosixPath(address.key).suffix}"
            self._download(address, version, path)
            return path

    def put(self, path: Path, uri: str, content_type: str) -> None:
        with self.errors(uri, writing=True):
            self._upload(path, self.address(uri), content_type)

    def read(self, uri: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            return
        with self.errors(uri):
            yield from self._stream(self.address(uri), start, length)

    def delete(self, uri: str) -> None:
        address = self.address(uri)
        with self.errors(uri, writing=True):
            objects = self._list(address) if address.is_folder else ()
            for info in objects:
                self._delete(self.address(info.uri))
            if not address.is_folder:
                self._delete(address)

    def sweep(self, uri: str) -> None:  # noqa: B027 - there is nothing to do, ever
        """Nothing: an upload that was cut off is no object, and the bucket's own to remove."""

    def entries(self, uri: str) -> Iterator[ObjectInfo]:
        with self.errors(uri):
            yield from self._list(self.address(uri))

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        start = self._split(prefix)
        if not start.bucket:
            raise UnsupportedLocation(
                f"not a bucket's URI: {prefix}", hint=f"It looks like {self.scheme}://bucket/."
            )
        with self.errors(prefix):
            yield from self._walk(start, self._split(after).key)

    # --- folders of frames -----------------------------------------------------------------------

    def _pictures(self, folder: Address) -> Sequence[ObjectInfo]:
        """The JPEG and PNG objects directly in a folder, in the natural order of their names."""
        found = [
            info
            for info in self._list(folder)
            if PurePosixPath(info.uri).suffix.lower() in SUFFIXES
        ]
        return sorted(found, key=lambda info: natural_key(info.uri.rpartition("/")[2]))

    def _fetch_folder(self, uri: str, folder: Address, version: str, work_dir: Path) -> Path:
        pictures = self._pictures(folder)
        if _folder_info(uri, pictures).version != version:
            raise changed(uri)
        target = work_dir / "frames"
        target.mkdir()
        for number, info in enumerate(pictures):
            suffix = PurePosixPath(info.uri).suffix.lower()
            path = target / f"{number:08d}{suffix}"
            self._download(self.address(info.uri), info.version, path)
        return target

    # --- the provider's part ---------------------------------------------------------------------

    @abstractmethod
    def errors(self, uri: str, *, writing: bool = False) -> AbstractContextManager[None]:
        """Name the provider's faults with ``uri``."""

    @abstractmethod
    def _head(self, address: Address) -> ObjectInfo: ...

    @abstractmethod
    def _list(self, folder: Address) -> Iterator[ObjectInfo]:
        """The objects directly in a folder."""

    @abstractmethod
    def _walk(self, prefix: Address, after: str) -> Iterator[ObjectInfo]:
        """All current objects whose key starts with the prefix's, in the order of their keys;
        only those after the key ``after``, if that is not empty."""

    @abstractmethod
    def _download(self, address: Address, version: str, path: Path) -> None:
        """Save this very version, or raise ``SourceChanged``."""

    @abstractmethod
    def _upload(self, path: Path, address: Address, content_type: str) -> None: ...

    @abstractmethod
    def _stream(self, address: Address, start: int, length: int | None) -> Iterator[bytes]: ...

    @abstractmethod
    def _delete(self, address: Address) -> None: ...


def owner(address: Address) -> str:
    """Whose output an object is that Shoal writes: the id of the job in whose folder it lies.

    Quoted, as metadata is ASCII.
    """
    return quote(PurePosixPath(address.key).parent.name) or "shoal"


def changed(uri: str) -> SourceChanged:
    return SourceChanged(f"it is not what was submitted any more: {uri}")


def _folder_info(uri: str, pictures: Sequence[ObjectInfo]) -> ObjectInfo:
    """A folder's version covers the names and versions of its pictures."""
    if not pictures:
        raise SourceNotFound(f"no JPEG or PNG objects directly in {uri}")
    digest = hashlib.sha256()
    for info in pictures:
        digest.update(f"{info.uri}\0{info.version}\n".encode())
    return ObjectInfo(uri, sum(info.size for info in pictures), digest.hexdigest()[:16])
