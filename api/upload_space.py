"""How much room uploads take on the API's disk, over all API processes that share the folder.

An upload reserves its bytes before it writes them. The reservation is the size of its partial
file, which is sparse until the bytes come, so it ends with that file; a partial file that no
process holds open with a lock is what a crash left, and is removed by whoever measures next.
Every change is made under one lock on the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shoal.errors import UploadsFull
from shoal.model.token import Scope, Token
from shoal.settings import Settings
from shoal.storage.files import make_folder

PARTIALS, RESUMABLE = ".partial", ".resumable"
BLOCK_BYTES = 512  # the unit of st_blocks


def partials_dir(settings: Settings) -> Path:
    """Where unfinished uploads lie: on the file system of the uploads, to be renamed there."""
    return settings.uploads_dir / PARTIALS


def resumable_dir(settings: Settings) -> Path:
    """Where unfinished uploads lie that no process holds (``api.resumable``)."""
    return settings.uploads_dir / RESUMABLE


class UploadSpace:
    """The room that one upload has.

    All uploads together have ``max_uploads_bytes``; of these, a token that is not of the scope
    ``admin`` has ``uploads_share``; and the disk keeps ``min_free_bytes`` free.

    Attributes:
        partial: the file that the upload is written to; whoever made this removes it.
    """

    def __init__(self, settings: Settings, token: Token, partial: Path | None = None) -> None:
        self._settings = settings
        self._token = token
        self._is_shared = token.scope is not Scope.ADMIN
        self.partial = partial or partials_dir(settings) / f"{uuid.uuid4().hex}-{token.name}"

    def open(self) -> BinaryIO:
        """The partial file, new, empty, and marked as in use until it is closed.

        Raises:
            FileNotFoundError: the data folder is not there.
        """
        make_folder(self.partial.parent, self._settings.data_dir)
        with self._locked():
            file = self.partial.open("xb")
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def reserve(self, needed: int, wanted: int) -> int:
        """Reserve ``wanted`` bytes for this upload in all, or what there is room for.

        Returns:
            The number of bytes it now has, at least ``needed``.

        Raises:
            UploadsFull: there is no room for ``needed``.
        """
        with self._locked():
            has = self.partial.stat().st_size
            granted = min(wanted, has + self._room(needed - has))
            os.truncate(self.partial, granted)
        return granted

    def keep(self, target: Path) -> None:
        """Move the upload to its place, before its file is closed.

        A file that is there already stays: jobs know it by its time.
        """
        with self._locked():
            if target.exists():
                return
            make_folder(target.parent, self._settings.data_dir)
            if self._is_shared:
                self._charge(target)
            self.partial.replace(target)

    def _room(self, needed: int) -> int:
        """How many bytes more than now uploads may take.

        Raises:
            UploadsFull: less than ``needed``.
        """
        limit, floor = self._settings.max_uploads_bytes, self._settings.min_free_bytes
        total = mine = owed = 0
        for path, status in _files(self._settings.uploads_dir):
            total += status.st_size
            if path.parent.name in (PARTIALS, RESUMABLE):
                owed += max(0, status.st_size - status.st_blocks * BLOCK_BYTES)
                mine += status.st_size * (path.name.partition("-")[2] == self._token.name)
        rooms = {
            f"uploads use {total} of {limit} bytes (SHOAL_MAX_UPLOADS_BYTES)": limit - total,
            f"{floor} bytes of the upload disk must stay free (SHOAL_MIN_FREE_BYTES)": (
                shutil.disk_usage(self._settings.uploads_dir).free - owed - floor
            ),
        }
        if self._is_shared:
            mine += sum(path.stat().st_size for path in self._charged())
            share = int(limit * self._settings.uploads_share)
            cause = f"uploads of {self._token.name!r} use {mine} of {share} bytes"
            rooms[f"{cause} (SHOAL_UPLOADS_SHARE)"] = share - mine
        cause, room = min(rooms.items(), key=lambda each: each[1])
        if room < needed:
            raise UploadsFull(f"no space for {needed} more bytes: {cause}")
        return max(room, 0)

    # What a token uploaded is told by a list of paths; those that were removed do not count.

    @property
    def _list(self) -> Path:
        return self._settings.data_dir / "upload-owners" / f"{self._token.name}.txt"

    def _charged(self) -> list[Path]:
        """The files that there are of this token."""
        try:
            names = set(self._list.read_text().splitlines())
        except FileNotFoundError:
            return []
        paths = [self._settings.uploads_dir / name for name in names]
        return [path for path in paths if path.is_file()]

    def _charge(self, target: Path) -> None:
        paths = [*self._charged(), target]
        self._list.parent.mkdir(exist_ok=True)
        lines = [f"{path.relative_to(self._settings.uploads_dir)}\n" for path in paths]
        written = self._list.with_suffix(".new")
        written.write_text("".join(lines))
        written.replace(self._list)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._settings.data_dir / "uploads.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The uploads below ``root``, unfinished ones included, without those of dead processes."""
    for folder in root.iterdir():
        for path in _names(folder):
            with suppress(FileNotFoundError):  # an upload ended
                if folder.name == PARTIALS and _is_abandoned(path):
                    path.unlink()
                else:
                    yield path, path.lstat()


def _names(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is none, or was removed."""
    try:
        return list(folder.iterdir())
    except (NotADirectoryError, FileNotFoundError):
        return []


def _is_abandoned(partial: Path) -> bool:
    """Whether no upload holds its lock: it ends with the process."""
    with partial.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
