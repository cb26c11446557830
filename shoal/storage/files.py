"""``file://``: objects are files below a few allowed roots."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from shoal.errors import (
    DiskFull,
    LocationForbidden,
    SourceChanged,
    SourceNotFound,
    StorageNotWritable,
    StorageUnavailable,
    UnsupportedLocation,
)
from shoal.storage.base import ObjectInfo
from shoal.storage.roots import by_prefix, lost_mount, prefixes, real_paths

CHUNK = 1 << 20
PATHS_KEPT = 100  # by one object, which lives for a request or a call
PARTIAL = ".{}.partial"  # what is being written, until it gets its own name, which may be long
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a disk, a quota, what a file may hold


_published: int | None = None  # the umask of what is published, where the process has another


def work_privately() -> None:
    """From now on what this process writes is its user's alone (0600), but for what it publishes:
    that gets the modes that the umask it was started with gives."""
    global _published
    before = os.umask(0o077)
    _published = before if _published is None else _published


def published_umask() -> int:
    """The umask of what is published; -1: the process's own."""
    return -1 if _published is None else _published


def make_folder(path: Path, root: Path) -> None:
    """Make a folder below ``root``, and those between, with the modes of what is published.

    Raises:
        FileNotFoundError: ``root`` is not there. It is never made anew: its disk may come back.
    """
    if path.is_dir():
        return
    if path == root:
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(root))
    make_folder(path.parent, root)
    path.mkdir(exist_ok=True)
    if _published is not None:
        path.chmod(0o777 & ~_published)


class FileStorage:
    """Files below ``roots``: a path must be so by its letters, '..' resolved, and where it leads
    when its symbolic links are followed, too."""

    def __init__(self, roots: Sequence[Path]) -> None:
        real = real_paths(roots)
        self._roots = by_prefix(real)
        self._spelled = prefixes(tuple(roots), real)
        # What was found of URIs and folders: links are looked for in each part of a path.
        self._paths: dict[str, Path] = {}
        self._folders: dict[str, Path] = {}

    def path(self, uri: str) -> Path:
        """The real path behind a URI.

        Raises:
            UnsupportedLocation: not a local file URI.
            LocationForbidden: outside all roots.
        """
        if known := self._paths.get(uri):
            return known
        written = _path_in(uri)
        # By its letters first: what lies outside is not even looked at, so that no answer tells
        # what is there and what is not.
        if not any(f"{written}/".startswith(prefix) for prefix in self._spelled):
            raise LocationForbidden(f"outside the allowed folders: {uri}")
        path = self._real(written)
        if not any(f"{path}/".startswith(prefix) for prefix, _ in self._roots):
            raise LocationForbidden(f"outside the allowed folders: {uri}")
        if len(self._paths) < PATHS_KEPT:
            self._paths[uri] = path
        return path

    def _real(self, path: str) -> Path:
        """``os.path.realpath``; of many files in a folder their folder is looked at once."""
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            return Path(os.path.realpath(path))
        if folder not in self._folders:
            self._folders[folder] = Path(os.path.realpath(folder))
        found = self._folders[folder] / name
        is_link = os.path.islink(found)  # noqa: PTH114 (pathlib's raises)
        return Path(os.path.realpath(found)) if is_link else found

    def _root(self, path: Path) -> Path:
        """The innermost root that holds a real path.

        Raises:
            LocationForbidden: none does.
        """
        name = f"{path}/"  # as text: pathlib takes its time
        for prefix, root in self._roots:
            if name.startswith(prefix):
                return root
        raise LocationForbidden("outside the allowed folders")

    def _check_root(self, path: Path) -> None:
        """A root that is gone is not an empty one: its disk may come back.

        Raises:
            StorageUnavailable: it is not there.
        """
        root = self._root(path)
        if not root.is_dir():
            raise StorageUnavailable(
                f"the folder {root} does not exist",
                hint="It was moved, or its disk is not mounted. Restore it.",
            )
        if mount := lost_mount(root):
            raise StorageUnavailable(
                f"the disk of the folder {root} is not mounted",
                hint=f"A moment ago something was mounted at {mount}. Mount it again.",
            )

    @contextmanager
    def _reading(self, uri: str) -> Iterator[None]:
        """Name what went wrong while reading; what is missing is so in a root that is there."""
        try:
            yield
        except PermissionError as error:
            raise SourceNotFound(
                f"not readable: {uri}", hint="Grant the user of the worker read access."
            ) from error
        except OSError as error:
            if error.errno in _NOT_THERE:
                self._check_root(self.path(uri))
                raise SourceNotFound(f"no such file: {uri}") from error
            raise StorageUnavailable(f"cannot read {uri}: {error.strerror}") from error

    def stat(self, uri: str) -> ObjectInfo:
        path = self.path(uri)
        with self._reading(uri):
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                return _stat_folder(path)
        return _file_info(path, status)

    def key(self, uri: str) -> str:
        path = self.path(uri)
        root = self._root(path)
        if path == root:
            return path.name
        below = path.relative_to(root)
        return (below if uri.endswith("/") else below.with_suffix("")).as_posix()

    def fetch(self, uri: str, version: str, work_dir: Path) -> Path:
        self._check_root(self.path(uri))
        if self.stat(uri).version != version:
            raise SourceChanged(f"the file has changed since it was submitted: {uri}")
        return self.path(uri)

    def put(self, path: Path, uri: str, content_type: str) -> None:
        target = self.path(uri)
        self._check_root(target)
        partial = target.with_name(PARTIAL.format(uuid.uuid4().hex))
        with writing(uri):
            make_folder(target.parent, self._root(target))
            try:
                shutil.copyfile(path, partial)
                if _published is not None:
                    partial.chmod(0o666 & ~_published)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)

    def read(self, uri: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        left = length
        with self._reading(uri), self.path(uri).open("rb") as file:
            file.seek(start)
            while left is None or left > 0:
                chunk = file.read(CHUNK if left is None else min(CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def delete(self, uri: str) -> None:
        path = self.path(uri)
        self._check_root(path)
        with writing(uri):
            if not uri.endswith("/"):
                path.unlink(missing_ok=True)
            elif path.is_dir():
                _empty(path)

    def sweep(self, uri: str) -> None:
        path = self.path(uri)
        self._check_root(path)
        with writing(uri):
            for partial in path.glob(PARTIAL.format("*")):
                partial.unlink(missing_ok=True)

    def entries(self, uri: str) -> Iterator[ObjectInfo]:
        path = self.path(uri)
        self._check_root(path)
        with self._reading(uri):
            for entry in sorted(path.iterdir()) if path.exists() else ():
                if entry.is_file():
                    yield self.stat(entry.as_uri())

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Links to folders are not followed. The names of one folder at a time are in memory."""
        top = self.path(prefix)
        self._check_root(top)

        def unless_vanished(error: OSError) -> None:
            """A folder may be removed while others are read; a root that goes away takes all."""
            if not isinstance(error, FileNotFoundError) or error.filename == str(top):
                raise error
            self._check_root(top)

        done = _place(_below(top, _local(after))) if after else ()
        with self._reading(prefix):
            for folder, folders, names in os.walk(top, onerror=unless_vanished):
                here = tuple((True, part) for part in Path(folder).relative_to(top).parts)
                # What the walk would come by before 'after' is not even opened.
                folders[:] = sorted(
                    name for name in folders if (*here, (True, name)) >= done[: len(here) + 1]
                )
                for name in sorted(names):
                    if (*here, (False, name)) <= done:
                        continue
                    path = Path(folder, name)
                    try:
                        status = path.lstat()
                    except FileNotFoundError as error:  # gone since the folder was read
                        unless_vanished(error)
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield _file_info(path, status)


def _path_in(uri: str) -> str:
    """The absolute path of a file URI, without '.', '..' and empty parts.

    Raises:
        UnsupportedLocation: not a local file URI, or no path that a file can have.
    """
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path)
        path.encode()
    except ValueError as error:  # brackets in the host, or half a pair of surrogates
        raise UnsupportedLocation(f"not a local file URI: {uri!r}") from error
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise UnsupportedLocation(f"not a local file URI: {uri}")
    if "\0" in path:
        raise UnsupportedLocation("a file URI cannot hold a NUL byte")
    return os.path.normpath("/" + path.lstrip("/"))


def _local(uri: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def _below(top: Path, path: Path) -> Path:
    """A path of a listing below ``top``, which may be a link by now, or lead elsewhere."""
    return (path if path.is_relative_to(top) else Path(os.path.realpath(path))).relative_to(top)


def _place(path: Path) -> tuple[tuple[bool, str], ...]:
    """What sorts as a walk goes: the files of a folder come before the folders in it."""
    *folders, name = path.parts
    return (*((True, folder) for folder in folders), (False, name))


def _file_info(path: Path, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        path.as_uri(),
        status.st_size,
        f"{status.st_size}-{status.st_mtime_ns}",
        updated_at=status.st_mtime,
    )


def _empty(folder: Path) -> None:
    """Remove the files in a folder, and the folder if nothing else is in it."""
    for entry in folder.iterdir():
        if entry.is_file():
            entry.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _stat_folder(path: Path) -> ObjectInfo:
    """A folder's version covers the names, sizes and times of the files directly in it."""
    digest, size = hashlib.sha256(), 0
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_file():
            status = entry.stat()
            size += status.st_size
            digest.update(f"{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return ObjectInfo(path.as_uri() + "/", size, digest.hexdigest()[:16])


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Name what went wrong while writing to ``where``."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"no space left for {where}") from error
        if error.errno in _NOT_WRITABLE:
            raise StorageNotWritable(f"cannot write {where}: {error.strerror}") from error
        raise StorageUnavailable(f"cannot write {where}: {error.strerror}") from error
