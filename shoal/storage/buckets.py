"""What ``gs://``, ``s3://`` and ``az://`` share: names, folders of frames, pinned versions."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

from shoal.errors import SourceChanged, SourceNotFound, UnsupportedLocation
from shoal.storage.base import ObjectInfo
from shoal.storage.files import writing
from shoal.storage.frames import FRAME_NAMES, SUFFIXES, natural_key

CHUNK = 1 << 20
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
PART_BYTES = 32 << 20  # of a download or an upload that runs in parallel parts
PARALLEL = 8
MAX_KEY_BYTES = 1024  # of S3 and of Google Cloud Storage
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,221}")


class Address(NamedTuple):
    """A parsed URI. Keys are taken as they are written: they are not percent-encoded."""

    bucket: str
    key: str

    @property
    def is_folder(self) -> bool:
        return self.key.endswith("/")

    def child(self, name: str) -> Address:
        """An object directly in this folder."""
        return self._replace(key=self.key + name)


class Piece(NamedTuple):
    """What has come of an object that comes in over time.

    Attributes:
        name: in the folder of its pieces; all names there are of one length.
        size: bytes.
    """

    name: str
    size: int


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
        try:
            fits = 0 < len(address.key.encode()) <= MAX_KEY_BYTES
        except UnicodeEncodeError:
            fits = False
        if not address.bucket or not fits:
            raise UnsupportedLocation(
                f"invalid object URI: {uri!r}", hint=f"Use the form {self.scheme}://bucket/key."
            )
        return address

    def _split(self, uri: str) -> Address:
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        is_ours = scheme == self.scheme and BUCKET.fullmatch(bucket)
        return Address(bucket if is_ours else "", key)

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
        path = PurePosixPath(address.key)
        return path.with_suffix("").as_posix() if path.name else address.key

    def fetch(self, uri: str, version: str, work_dir: Path) -> Path:
        address = self.address(uri)
        with writing(str(work_dir)), self.errors(uri):
            if address.is_folder:
                return self._fetch_folder(uri, address, version, work_dir)
            # The key is somebody else's: no part of it gets into a path of ours but a suffix that
            # looks like one.
            suffix = PurePosixPath(address.key).suffix
            path = work_dir / f"source{suffix if _SUFFIX.fullmatch(suffix) else ''}"
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
                f"invalid bucket URI: {prefix}", hint=f"Use the form {self.scheme}://bucket/."
            )
        with self.errors(prefix):
            yield from self._walk(start, self._split(after).key)

    # --- objects that come in over time ----------------------------------------------------------

    def put_piece(self, folder: str, name: str, data: bytes) -> None:
        """Store a piece of an object in a folder that has the pieces of no other."""
        with self.errors(folder, writing=True):
            self._put_piece(self.address(folder), name, data)

    def read_pieces(self, folder: str, pieces: Sequence[Piece]) -> Iterator[bytes]:
        """Iterate over the content of pieces, which are all that will be joined."""
        with self.errors(folder):
            yield from self._read_pieces(self.address(folder), pieces)

    def join(self, folder: str, pieces: Sequence[Piece], uri: str, content_type: str) -> None:
        """Make an object from its pieces, inside of the bucket, and all at once. An object that is
        there already stays. The pieces stay, too."""
        target = self.address(uri)
        with self.errors(uri, writing=True):
            if pieces:
                self._join(self.address(folder), pieces, target, content_type)
            else:
                self._put(target, b"", content_type)

    def drop_pieces(self, folder: str) -> None:
        """Delete all pieces, and what was left by joining them."""
        address = self.address(folder)
        with self.errors(folder, writing=True), ThreadPoolExecutor(PARALLEL) as pool:
            found = [self.address(info.uri) for info in self._list(address)]
            for _ in pool.map(self._delete, found):
                pass

    def abort_joins(self, prefix: str, before: float) -> None:  # noqa: B027 - nothing to do
        """End joins below a prefix that began before a time, and that no process continues."""

    def _put_piece(self, folder: Address, name: str, data: bytes) -> None:
        self._put(folder.child(name), data, "application/octet-stream")

    def _read_pieces(self, folder: Address, pieces: Sequence[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self._stream(folder.child(piece.name), 0, piece.size)

    # --- folders of frames -----------------------------------------------------------------------

    def _pictures(self, folder: Address) -> Sequence[ObjectInfo]:
        """The pictures directly in a folder, in the natural order of their names."""
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
        names = [info.uri.rpartition("/")[2] for info in pictures]
        target.with_name(FRAME_NAMES).write_text(json.dumps(names))
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
        """Save exactly this version, or raise ``SourceChanged``."""

    @abstractmethod
    def _upload(self, path: Path, address: Address, content_type: str) -> None: ...

    @abstractmethod
    def _put(self, address: Address, data: bytes, content_type: str) -> None:
        """Write a small object."""

    @abstractmethod
    def _join(
        self, folder: Address, pieces: Sequence[Piece], target: Address, content_type: str
    ) -> None: ...

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
        raise SourceNotFound(f"no JPEG, PNG or WebP files directly in {uri}")
    digest = hashlib.sha256()
    for info in pictures:
        digest.update(f"{info.uri}\0{info.version}\n".encode())
    return ObjectInfo(uri, sum(info.size for info in pictures), digest.hexdigest()[:16])
