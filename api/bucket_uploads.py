"""Uploads to the bucket of the results, which pass through the API and touch none of its disk.

What has arrived lies in the bucket in pieces, in a folder of its upload, and Redis says how far it
came (``shoal.queue.uploads``): any API process can continue any upload. A piece is named after the
request that wrote it, so one that a later request replaced gets into nothing. When all are there,
the bucket joins them under the hash of their content, as on disk (``api.resumable``).
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from api.resumable import check_id
from api.storage_calls import StorageCalls
from shoal.errors import RequestError, UploadConflict, UploadNotFound, UploadsFull
from shoal.model.token import Scope, Token
from shoal.queue.queue import JobQueue
from shoal.queue.uploads import KEPT_S, BucketLedger, UploadState
from shoal.results.layout import content_type
from shoal.retention.uploads import UnusedUploads, pieces_folder
from shoal.settings import Settings
from shoal.storage import bucket_for
from shoal.storage.buckets import BucketStorage, Piece

if TYPE_CHECKING:
    from hashlib import _Hash

T = TypeVar("T")

PIECE_BYTES = 8 << 20  # in memory, of each request that uploads
MAX_PIECES = 10_000  # of one object in S3
PIECE_S = 60.0  # for one to be stored
FINISH_S = 50.0  # how long a request waits for its pieces to be joined: proxies wait for a minute
DIGESTS = 1000  # uploads of which the hash so far is known


class BucketUploads:
    """The uploads of one API process to the bucket."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self.settings = settings
        self.root = settings.uploads_bucket
        self.ledger = BucketLedger(queue.redis, queue.name)
        self.unused = UnusedUploads(queue, settings)
        self.calls = StorageCalls()  # a bucket that hangs holds up uploads alone
        self._digests: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()
        self._joining: set[str] = set()
        self._lock = threading.Lock()

    @cached_property
    def bucket(self) -> BucketStorage:
        """Made in a thread of a call: its library takes a while to import."""
        return bucket_for(self.root, self.settings)

    def close(self) -> None:
        self.calls.close()

    async def create(
        self, token: Token, name: str, length: int, kept_s: int = KEPT_S
    ) -> BucketUpload:
        """Reserve the room for a new upload.

        Raises:
            UploadsFull: there is none.
        """
        upload = BucketUpload(self, token, uuid.uuid4().hex)
        await upload.run(upload.begin_anew, UploadState(name=name, length=length, kept_s=kept_s))
        return upload

    def digest(self, upload_id: str, at: int) -> tuple[int, _Hash]:
        """The SHA-256 of the first bytes of an upload, and of how many: ``at`` at most.

        It is known where this process received them; else it begins at 0.
        """
        with self._lock:
            known, digest = self._digests.get(upload_id, (0, hashlib.sha256()))
        return (known, digest.copy()) if known <= at else (0, hashlib.sha256())

    def keep_digest(self, upload_id: str, at: int, digest: _Hash | None) -> None:
        with self._lock:
            self._digests.pop(upload_id, None)
            if digest:
                self._digests[upload_id] = at, digest.copy()
            if len(self._digests) > DIGESTS:
                self._digests.popitem(last=False)

    def enter(self, upload_id: str) -> None:
        """
        Raises:
            UploadConflict: another thread joins the upload's pieces.
        """
        with self._lock:
            if upload_id in self._joining:
                raise UploadConflict(
                    "the upload is complete and being stored", hint="Ask again in a few seconds."
                )
            self._joining.add(upload_id)

    def leave(self, upload_id: str) -> None:
        with self._lock:
            self._joining.discard(upload_id)


class BucketUpload:
    """One upload of one token, as ``ResumableUpload``. Its methods call Redis and the bucket: they
    are for ``run``.

    Attributes:
        block_bytes: what ``write`` is best given at a time.
        finish_s: how long a request waits for ``finish``.
    """

    def __init__(self, uploads: BucketUploads, token: Token, upload_id: str) -> None:
        check_id(upload_id)
        self.id = upload_id
        self.block_bytes = PIECE_BYTES
        self.finish_s = FINISH_S
        self._uploads = uploads
        self._token = token
        self._key = f"{upload_id}-{token.name}"
        self._folder = pieces_folder(uploads.root, self._key)
        self._pending: list[Piece] = []  # stored by this request, and not committed
        self._hashed = 0  # bytes in ``_digest``
        self._digest = hashlib.sha256()

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Call one of the methods in a thread.

        Raises:
            StorageUnavailable: it takes too long. Joining goes on.
        """
        joins = call == self.finish
        return await self._uploads.calls.run(
            self._uploads.root,
            call,
            *args,
            deadline_s=self.finish_s if joins else PIECE_S,
            hasty=False,  # a piece that is late is better than one sent again
        )

    def begin_anew(self, state: UploadState) -> None:
        self._uploads.ledger.begin(self._key, state)
        try:
            self.reserve(state.length)
        except UploadsFull:
            self._uploads.ledger.end(self._key)
            raise

    def reserve(self, size: int) -> None:
        """Reserve so many bytes in all.

        Raises:
            UploadsFull
        """
        settings, name = self._uploads.settings, self._token.name
        limit, share = settings.max_uploads_bytes, settings.max_uploads_bytes
        if self._token.scope is not Scope.ADMIN:
            share = int(limit * settings.uploads_share)
        done, everyone, mine = self._uploads.ledger.reserve(self._key, name, size, limit, share)
        if done:
            return
        cause = f"uploads use {everyone} of {limit} bytes (SHOAL_MAX_UPLOADS_BYTES)"
        if everyone + size <= limit:
            cause = f"uploads of {name!r} use {mine} of {share} bytes (SHOAL_UPLOADS_SHARE)"
        raise UploadsFull(f"no space for {size} more bytes: {cause}")

    def grow(self, size: int) -> None:
        """Have an upload whose length was not announced reserve more.

        Raises:
            UploadsFull
        """
        self.reserve(size)

        def change(state: UploadState) -> None:
            state.length = size

        self._change(change)

    def state(self) -> UploadState:
        return self._found()[0]

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._found()[1]

    def begin(self, offset: int) -> str:
        """Become the one that continues the upload; returns who that is, for ``write``.

        Raises:
            UploadConflict: it is at another offset.
        """
        writer = uuid.uuid4().hex

        def change(state: UploadState) -> None:
            if offset != state.offset:
                raise UploadConflict(f"the upload is at {state.offset}, not at {offset}")
            state.writer = writer

        state = self._change(change)
        self.block_bytes = max(PIECE_BYTES, 2 * state.length // MAX_PIECES)
        self._hashed, self._digest = self._uploads.digest(self._key, offset)
        return writer

    def write(self, writer: str, at: int, block: bytes, commit: bool) -> None:
        """Store a block at an offset; with ``commit`` the upload continues after it from now on.

        Raises:
            UploadConflict: another request has begun, or the block goes beyond the length.
            RequestError: the requests were too small.
        """
        end = at + len(block)

        def change(state: UploadState) -> None:
            if state.writer != writer or state.uri:
                raise UploadConflict("another request continues this upload")
            if end > state.length:
                raise UploadConflict(f"the upload has {state.length} bytes, and these are more")
            if state.pieces + len(self._pending) > MAX_PIECES:
                raise RequestError(
                    f"the upload consists of more than {MAX_PIECES} pieces",
                    hint=f"Send at least {PIECE_BYTES} bytes per request.",
                )
            state.offset = end

        change(self.state())
        if block:
            piece = Piece(f"{at:015}-{writer}", len(block))
            self._uploads.bucket.put_piece(self._folder, *piece[:1], block)
            self._pending.append(piece)
            if self._hashed == at:
                self._digest.update(block)
                self._hashed = end
        if commit:
            self._change(change, self._pending)
            self._pending = []
            if self._hashed == end:
                self._uploads.keep_digest(self._key, end, self._digest)

    def finish(self) -> UploadState:
        """Have the bucket join a complete upload; again it changes nothing.

        Raises:
            UploadConflict: bytes are missing, or another thread is at it.
        """
        state = self.state()
        if state.offset != state.length:
            raise UploadConflict(f"{state.length - state.offset} bytes are missing")
        if state.uri:
            return state
        self._uploads.enter(self._key)
        try:
            return self._join(state)
        finally:
            self._uploads.leave(self._key)

    def _join(self, state: UploadState) -> UploadState:
        uploads = self._uploads
        pieces = uploads.ledger.pieces(self._key)
        sha256 = self._sha256(pieces, state.length)
        uri = f"{uploads.root}/{sha256[:16]}/{state.name}"
        uploads.unused.touch(uri)
        self._uploads.bucket.join(self._folder, pieces, uri, content_type(state.name))
        owner = self._token.name if self._token.scope is not Scope.ADMIN else ""
        uploads.ledger.keep(self._key, uri, state.length, owner)

        def change(state: UploadState) -> None:
            state.uri, state.sha256 = uri, sha256

        done = self._change(change)
        uploads.keep_digest(self._key, 0, None)
        self._uploads.bucket.drop_pieces(self._folder)
        return done

    def _sha256(self, pieces: list[Piece], length: int) -> str:
        """Of all bytes; those that this process did not receive are read again."""
        known, digest = self._uploads.digest(self._key, length)
        if known < length:
            digest = hashlib.sha256()
            for block in self._uploads.bucket.read_pieces(self._folder, pieces):
                digest.update(block)
        return digest.hexdigest()

    def remove(self) -> UploadState:
        """End it; what was complete stays. Returns how far it was."""
        state = self.state()
        self._uploads.keep_digest(self._key, 0, None)
        self._uploads.bucket.drop_pieces(self._folder)
        self._uploads.ledger.end(self._key)
        return state

    def _found(self) -> tuple[UploadState, float]:
        found = self._uploads.ledger.find(self._key)
        if found is None:
            raise self._missing()
        return found

    def _change(
        self, change: Callable[[UploadState], None], pieces: list[Piece] | None = None
    ) -> UploadState:
        state = self._uploads.ledger.change(self._key, change, pieces or ())
        if state is None:
            raise self._missing()
        return state

    def _missing(self) -> UploadNotFound:
        return UploadNotFound(f"no upload of yours has the id {self.id}")
