"""``gs://``: Google Cloud Storage. Credentials come from Google's own chain; an object's version
is its generation. ``STORAGE_EMULATOR_HOST`` leads to an emulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage import transfer_manager
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from shoal.errors import (
    ShoalError,
    SourceNotFound,
    StorageForbidden,
    StorageNotWritable,
    StorageThrottled,
    StorageUnavailable,
)
from shoal.storage.base import HASTY_S, MARKER, ObjectInfo, is_hasty
from shoal.storage.buckets import (
    CHUNK,
    PARALLEL,
    PART_BYTES,
    Address,
    BucketStorage,
    Piece,
    changed,
    owner,
)

CONNECT_S, READ_S = 10, 60
TIMEOUT = (CONNECT_S, READ_S)
FAULTS = (api.GoogleAPIError, auth.GoogleAuthError, requests.RequestException, DataCorruption)
UPLOAD_RETRY = DEFAULT_RETRY.with_timeout(120)  # s; with growing pauses
COMPOSED = 32  # objects that one request can join
HASTY_RETRY = DEFAULT_RETRY.with_timeout(HASTY_S)


def _patience() -> dict[str, Any]:
    """How long a call waits and tries again."""
    if is_hasty():
        return {"timeout": (HASTY_S / 2, HASTY_S), "retry": HASTY_RETRY}
    return {"timeout": TIMEOUT}


@lru_cache(maxsize=1)
def _client() -> storage.Client:
    return storage.Client()


class GoogleStorage(BucketStorage):
    scheme = "gs"

    def _blob(self, address: Address, generation: int | None = None) -> storage.Blob:
        return _client().bucket(address.bucket).blob(address.key, generation=generation)

    def _info(self, blob: storage.Blob) -> ObjectInfo:
        uri = self.uri(Address(blob.bucket.name, blob.name))
        return ObjectInfo(
            uri,
            int(blob.size or 0),
            str(blob.generation),
            updated_at=blob.updated.timestamp() if blob.updated else 0.0,
            content_type=blob.content_type or "",
            metadata=blob.metadata or {},
        )

    def _head(self, address: Address) -> ObjectInfo:
        blob = self._blob(address)
        blob.reload(**_patience())
        return self._info(blob)

    def _list(self, folder: Address) -> Iterator[ObjectInfo]:
        blobs = _client().list_blobs(folder.bucket, prefix=folder.key, delimiter="/", **_patience())
        return (self._info(blob) for blob in blobs)

    def _walk(self, prefix: Address, after: str) -> Iterator[ObjectInfo]:
        blobs = _client().list_blobs(
            prefix.bucket, prefix=prefix.key or None, start_offset=after or None, **_patience()
        )
        # The offset's own name is listed too.
        return (self._info(blob) for blob in blobs if blob.name != after)

    def _download(self, address: Address, version: str, path: Path) -> None:
        blob = self._blob(address, int(version))
        try:
            blob.reload(**_patience())
        except api.NotFound as error:
            self._blob(address).reload(**_patience())  # raises if it is not there at all
            raise changed(self.uri(address)) from error
        if (blob.size or 0) <= PART_BYTES:
            blob.download_to_filename(str(path), checksum="crc32c", timeout=TIMEOUT)
            return
        transfer_manager.download_chunks_concurrently(
            blob,
            str(path),
            chunk_size=PART_BYTES,
            worker_type=transfer_manager.THREAD,
            max_workers=PARALLEL,
            download_kwargs={"timeout": TIMEOUT},
        )

    def _upload(self, path: Path, address: Address, content_type: str) -> None:
        # Resumable where it is large. The same bytes again do no harm, so it may always retry.
        blob = self._blob(address)
        blob.metadata = {MARKER: owner(address)}
        blob.upload_from_filename(
            str(path),
            content_type=content_type,
            checksum="crc32c",
            retry=UPLOAD_RETRY,
            timeout=TIMEOUT,
        )

    def _put(self, address: Address, data: bytes, content_type: str) -> None:
        blob = self._blob(address)
        blob.metadata = {MARKER: owner(address)}
        blob.upload_from_string(
            data,
            content_type=content_type,
            checksum="crc32c",
            **{"retry": UPLOAD_RETRY} | _patience(),
        )

    def _join(
        self, folder: Address, pieces: Sequence[Piece], target: Address, content_type: str
    ) -> None:
        names, level = [piece.name for piece in pieces], 0
        while len(names) > COMPOSED:
            level += 1
            groups = [names[at : at + COMPOSED] for at in range(0, len(names), COMPOSED)]
            names = [f"{level}-{number}" for number in range(len(groups))]
            for name, group in zip(names, groups, strict=True):
                whole = self._blob(folder.child(name))
                whole.compose([self._blob(folder.child(each)) for each in group], timeout=TIMEOUT)
        blob = self._blob(target)
        blob.content_type, blob.metadata = content_type, {MARKER: owner(target)}
        with suppress(api.PreconditionFailed):  # it is there
            sources = [self._blob(folder.child(each)) for each in names]
            blob.compose(sources, if_generation_match=0, timeout=TIMEOUT)

    def _stream(self, address: Address, start: int, length: int | None) -> Iterator[bytes]:
        blob = self._blob(address)
        end = None if length is None else start + length
        while end is None or start < end:
            last = start + CHUNK if end is None else min(start + CHUNK, end)
            try:
                # 'end' is the last byte itself.
                data = blob.download_as_bytes(
                    start=start, end=last - 1, checksum=None, **_patience()
                )
            except api.RequestRangeNotSatisfiable:
                return
            yield data
            start += len(data)
            if len(data) < CHUNK:
                return

    def _delete(self, address: Address) -> None:
        try:
            self._blob(address).delete(**_patience())
        except api.NotFound:
            return

    @contextmanager
    def errors(self, uri: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise _named(_cause(error), uri, writing) from error


def _cause(error: Exception) -> Exception:
    """What is behind an upload that was tried again until its time was over."""
    if isinstance(error, api.RetryError):
        error = error.cause
    if isinstance(error, InvalidResponse):
        error = api.from_http_response(error.response)  # type: ignore[no-untyped-call]
    return error


def _named(error: Exception, uri: str, writing: bool) -> ShoalError:
    match error:
        case api.NotFound() if writing:
            return StorageNotWritable(f"no such bucket: {uri}")
        case api.NotFound():
            return SourceNotFound(f"no such object: {uri}")
        case auth.TransportError() | auth.GoogleAuthError(retryable=True):
            return StorageUnavailable(f"Google's sign-in failed for {uri}: {_reason(error)}")
        case api.Forbidden() | api.Unauthorized() | auth.GoogleAuthError():
            refused = StorageNotWritable if writing else StorageForbidden
            return refused(f"Google Cloud Storage denied access to {uri}: {_reason(error)}")
        case api.TooManyRequests():
            return StorageThrottled(f"Google Cloud Storage is throttling {uri}")
    return StorageUnavailable(f"Google Cloud Storage failed for {uri}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error)).splitlines()[0][:200]
