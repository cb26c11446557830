"""Resumable uploads on the API's disk: what an upload is while it is under way.

In ``uploads/.resumable`` it has a file ``<id>-<token>``, of its full length from the start, which
reserves its room (``api.upload_space``), and ``<id>-<token>.json`` with how far it came. The latest
request to continue an upload is the one that may: an earlier one, whose connection may hang for
hours, ends at its next block. Every change is made under the lock ``<id>-<token>.lock``, so any
number of API processes may share the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from api.upload_space import UploadSpace, resumable_dir
from shoal.errors import UploadConflict, UploadNotFound
from shoal.model.token import Token
from shoal.queue.uploads import KEPT_S, UploadState
from shoal.settings import Settings
from shoal.storage.files import make_folder

READ_BYTES = 1 << 20
BLOCK_BYTES = 4 << 20  # written, and safe, at a time
T = TypeVar("T")
_ID = re.compile(r"[0-9a-f]{32}")


class ResumableUpload:
    """One upload of one token. Every method raises ``UploadNotFound`` where there is none.

    Attributes:
        block_bytes: what ``write`` is best given at a time.
    """

    block_bytes = BLOCK_BYTES

    def __init__(self, settings: Settings, token: Token, upload_id: str) -> None:
        check_id(upload_id)
        self.id = upload_id
        self._settings = settings
        self._data = resumable_dir(settings) / f"{upload_id}-{token.name}"
        self._file = self._data.with_name(self._data.name + ".json")
        self._space = UploadSpace(settings, token, self._data)

    @classmethod
    def create(cls, settings: Settings, token: Token, name: str, length: int) -> ResumableUpload:
        """Reserve the room for a new upload.

        Raises:
            UploadsFull: there is none.
            FileNotFoundError: the data folder is not there.
        """
        upload = cls(settings, token, uuid.uuid4().hex)
        make_folder(upload._data.parent, settings.data_dir)
        upload._data.touch(exist_ok=False)
        try:
            upload._space.reserve(length, length)
        except BaseException:
            upload._data.unlink()
            raise
        upload._save(UploadState(name=name, length=length))
        return upload

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Call one of the methods in a thread."""
        return await run_in_threadpool(call, *args)

    def state(self) -> UploadState:
        with self._locked():
            return self._load()

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch."""
        try:
            return self._file.stat().st_mtime + KEPT_S
        except FileNotFoundError as error:
            raise self._missing() from error

    def begin(self, offset: int) -> str:
        """Become the one that continues the upload; returns who that is, for ``write``.

        Raises:
            UploadConflict: it is at another offset.
        """
        with self._locked():
            state = self._load()
            if offset != state.offset:
                raise UploadConflict(f"the upload is at {state.offset}, not at {offset}")
            state.writer = uuid.uuid4().hex
            self._save(state)
        return state.writer

    def write(self, writer: str, at: int, block: bytes, commit: bool) -> None:
        """Write a block at an offset; with ``commit`` the upload continues after it from now on.

        Raises:
            UploadConflict: another request has begun, or the block goes beyond the length.
        """
        with self._locked():
            state = self._load()
            if state.writer != writer or state.uri:
                raise UploadConflict("another request continues this upload")
            if at + len(block) > state.length:
                raise UploadConflict(f"the upload has {state.length} bytes, and these are more")
            with self._data.open("r+b") as file:
                file.seek(at)
                file.write(block)
                file.flush()
                if commit:
                    os.fdatasync(file.fileno())
            if commit:
                state.offset = at + len(block)
                self._save(state)

    def finish(self) -> UploadState:
        """Move a complete upload to its place; again it changes nothing.

        Raises:
            UploadConflict: bytes are missing.
        """
        with self._locked():
            state = self._load()
            if state.offset != state.length:
                raise UploadConflict(f"{state.length - state.offset} bytes are missing")
            if not state.uri:
                state.sha256 = self._sha256()
                target = self._settings.uploads_dir / state.sha256[:16] / state.name
                self._space.keep(target)
                self._data.unlink(missing_ok=True)  # the same content was there already
                state.uri = target.as_uri()
                self._save(state)
        return state

    def remove(self) -> UploadState:
        """End it; what was complete stays. Returns how far it was."""
        with self._locked():
            state = self._load()
            _remove(self._file)
        return state

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        with self._data.open("rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _load(self) -> UploadState:
        try:
            if time.time() < self.expires_at:
                return UploadState.model_validate_json(self._file.read_text())
        except FileNotFoundError as error:
            raise self._missing() from error
        raise self._missing()

    def _save(self, state: UploadState) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(state.model_dump_json())
        written.replace(self._file)

    def _missing(self) -> UploadNotFound:
        return UploadNotFound(f"no upload of yours has the id {self.id}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time for this upload, over all processes."""
        if not self._file.exists():
            raise self._missing()
        with self._file.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def check_id(upload_id: str) -> None:
    """
    Raises:
        UploadNotFound: nothing can have this id.
    """
    if not _ID.fullmatch(upload_id):
        raise UploadNotFound(f"no upload has the id {upload_id[:40]!r}")


def remove_expired(settings: Settings) -> None:
    """Delete the uploads that nobody has continued for ``KEPT_S``."""
    oldest = time.time() - KEPT_S
    for file in resumable_dir(settings).glob("*.json"):
        with suppress(FileNotFoundError):  # another process removed it
            if file.stat().st_mtime < oldest:
                _remove(file)


def _remove(file: Path) -> None:
    """The files of an upload; the one that it is known by goes last."""
    for path in (file.with_suffix(""), file.with_suffix(".lock"), file):
        path.unlink(missing_ok=True)
