"""``az://``: Azure Blob Storage, the containers of one storage account.

``AZURE_STORAGE_CONNECTION_STRING`` names the account and its key, or ``AZURE_STORAGE_ACCOUNT`` the
account alone; then credentials come from Azure's own chain. An object's version is its ETag.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobProperties,
    BlobServiceClient,
    ContentSettings,
    ExponentialRetry,
)

from shoal.errors import (
    ShoalError,
    SourceNotFound,
    StorageForbidden,
    StorageNotWritable,
    StorageThrottled,
    StorageUnavailable,
    UnsupportedLocation,
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

# Pauses of 1, 3, 5 and 9 s; for what took a while to make, twice more.
RETRIES, UPLOAD_RETRIES = 4, 6
CONNECT_S, READ_S = 10, 60
# Names of metadata are identifiers here.
JOINED = "joined"  # the blob whose blocks are the pieces of a folder
COPY_PAUSE_S = 0.5
OUR_MARKER = MARKER.replace("-", "_")


@lru_cache
def _client(
    retries: int = RETRIES, connect_s: float = CONNECT_S, read_s: float = READ_S
) -> BlobServiceClient:
    options: dict[str, Any] = {
        "retry_policy": ExponentialRetry(
            initial_backoff=1, increment_base=2, retry_total=retries, random_jitter_range=1
        ),
        "connection_timeout": connect_s,
        "read_timeout": read_s,
        "max_single_get_size": PART_BYTES,
        "max_chunk_get_size": PART_BYTES,
        "max_single_put_size": PART_BYTES,
        "max_block_size": PART_BYTES,
    }
    if connection := os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):
        return BlobServiceClient.from_connection_string(connection, **options)
    account = os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    if not account:
        raise StorageForbidden(
            "no Azure storage account is named",
            hint="Set AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING.",
        )
    url = f"https://{account}.blob.core.windows.net"
    return BlobServiceClient(url, credential=DefaultAzureCredential(), **options)


def _now() -> BlobServiceClient:
    """The client for a call: one that somebody waits for gives up sooner."""
    return _client(1, HASTY_S / 2, HASTY_S) if is_hasty() else _client()


class AzureStorage(BucketStorage):
    scheme = "az"

    def address(self, uri: str) -> Address:
        """As for all buckets. Paths of URLs lose ``.`` and ``..`` on the way, so no key has them.

        Raises:
            UnsupportedLocation
        """
        address = super().address(uri)
        if {".", ".."}.intersection(address.key.split("/")):
            raise UnsupportedLocation(f"not the name of a blob: {uri!r}")
        return address

    def _blob(self, address: Address) -> BlobClient:
        return _now().get_blob_client(address.bucket, address.key)

    def _info(self, blob: BlobProperties) -> ObjectInfo:
        metadata = {name.lower(): value for name, value in (blob.metadata or {}).items()}
        if OUR_MARKER in metadata:
            metadata[MARKER] = metadata.pop(OUR_MARKER)
        return ObjectInfo(
            self.uri(Address(blob.container, blob.name)),
            int(blob.size or 0),
            blob.etag.strip('"'),
            updated_at=blob.last_modified.timestamp(),
            content_type=blob.content_settings.content_type or "",
            metadata=metadata,
        )

    def _head(self, address: Address) -> ObjectInfo:
        return self._info(self._blob(address).get_blob_properties())

    def _list(self, folder: Address) -> Iterator[ObjectInfo]:
        container = _now().get_container_client(folder.bucket)
        for each in container.walk_blobs(name_starts_with=folder.key, delimiter="/"):
            if isinstance(each, BlobProperties):  # the others are folders
                yield self._info(each)

    def _walk(self, prefix: Address, after: str) -> Iterator[ObjectInfo]:
        container = _now().get_container_client(prefix.bucket)
        found = container.list_blobs(name_starts_with=prefix.key or None, include=["metadata"])
        # Names come in the order of their characters; the emulator cannot start in the middle.
        return (self._info(blob) for blob in found if blob.name > after)

    def _download(self, address: Address, version: str, path: Path) -> None:
        try:
            download = self._blob(address).download_blob(
                etag=f'"{version}"',
                match_condition=MatchConditions.IfNotModified,
                max_concurrency=PARALLEL,
            )
            with path.open("wb") as file:
                download.readinto(file)
        except ResourceModifiedError as error:
            self._head(address)  # raises if it is not there at all
            raise changed(self.uri(address)) from error

    def _upload(self, path: Path, address: Address, content_type: str) -> None:
        blob = _client(UPLOAD_RETRIES).get_blob_client(address.bucket, address.key)
        with path.open("rb") as file:
            blob.upload_blob(
                file,
                overwrite=True,
                content_settings=ContentSettings(content_type=content_type),
                metadata={OUR_MARKER: owner(address)},
                max_concurrency=PARALLEL,
            )

    def _put(self, address: Address, data: bytes, content_type: str) -> None:
        self._blob(address).upload_blob(
            data,
            overwrite=True,
            content_settings=ContentSettings(content_type=content_type),
            metadata={OUR_MARKER: owner(address)},
        )

    # Pieces are blocks of one blob, which Azure deletes after a week if they are not committed.

    def _put_piece(self, folder: Address, name: str, data: bytes) -> None:
        self._blob(folder.child(JOINED)).stage_block(name, data)

    def _read_pieces(self, folder: Address, pieces: Sequence[Piece]) -> Iterator[bytes]:
        self._commit(folder, pieces, "")
        yield from self._stream(folder.child(JOINED), 0, None)

    def _commit(self, folder: Address, pieces: Sequence[Piece], content_type: str) -> BlobClient:
        blob = self._blob(folder.child(JOINED))
        blob.commit_block_list(
            [BlobBlock(piece.name) for piece in pieces],
            content_settings=ContentSettings(content_type=content_type),
            metadata={OUR_MARKER: owner(folder.child(JOINED))},
        )
        return blob

    def _join(
        self, folder: Address, pieces: Sequence[Piece], target: Address, content_type: str
    ) -> None:
        source, copy = self._commit(folder, pieces, content_type), self._blob(target)
        with suppress(ResourceExistsError, ResourceModifiedError):  # it is there
            copy.start_copy_from_url(
                source.url,
                metadata={OUR_MARKER: owner(target)},
                match_condition=MatchConditions.IfMissing,
            )
        while (status := copy.get_blob_properties().copy.status) == "pending":
            time.sleep(COPY_PAUSE_S)
        if status not in (None, "success"):
            self._delete(target)
            raise StorageUnavailable(f"Azure could not copy to {self.uri(target)}: {status}")

    def drop_pieces(self, folder: str) -> None:
        with self.errors(folder, writing=True):
            joined = self.address(folder).child(JOINED)
            self._commit(self.address(folder), (), "")  # blocks that were not are gone with it
            self._delete(joined)

    def _stream(self, address: Address, start: int, length: int | None) -> Iterator[bytes]:
        blob = self._blob(address)
        end = blob.get_blob_properties().size
        end = end if length is None else min(end, start + length)
        while start < end:
            size = min(CHUNK, end - start)
            yield blob.download_blob(offset=start, length=size).readall()
            start += size

    def _delete(self, address: Address) -> None:
        try:
            self._blob(address).delete_blob(delete_snapshots="include")
        except ResourceNotFoundError:
            return

    @contextmanager
    def errors(self, uri: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except AzureError as error:
            raise _named(error, uri, writing) from error


def _named(error: AzureError, uri: str, writing: bool) -> ShoalError:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status == 404 or isinstance(error, ResourceNotFoundError):
        if writing:
            return StorageNotWritable(f"no such container: {uri}")
        return SourceNotFound(f"no such object: {uri}")
    if status in (401, 403) or isinstance(error, ClientAuthenticationError):
        cause = StorageNotWritable if writing else StorageForbidden
        return cause(f"Azure denied access to {uri}: {_first_line(error)}")
    if status == 429 or getattr(error, "error_code", "") == "ServerBusy":
        return StorageThrottled(f"Azure is throttling {uri}")
    return StorageUnavailable(f"Azure failed for {uri}: {_first_line(error)}")


def _first_line(error: AzureError) -> str:
    return (str(error).splitlines() or [""])[0][:200]
