"""``s3://``: Amazon S3, and what speaks its protocol (``AWS_ENDPOINT_URL_S3``). Credentials come
from AWS's own chain; a version is the version id, or the ETag where the bucket keeps none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as boto
from botocore.config import Config

from shoal.errors import (
    ShoalError,
    SourceNotFound,
    StorageForbidden,
    StorageNotWritable,
    StorageThrottled,
    StorageUnavailable,
    WrongRegion,
)
from shoal.storage.base import (
    ETAG,
    HASTY_S,
    MARKER,
    VERSION,
    ObjectInfo,
    is_hasty,
    s3_version,
)
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

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# botocore waits longer from one attempt to the next: 15 s in all, or for what took a while to
# make, a minute.
ATTEMPTS, UPLOAD_ATTEMPTS = 6, 10
TRANSFER = TransferConfig(
    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARALLEL
)
MIN_PART_BYTES = 5 << 20  # S3's, of a part that is not the last
PART_FIELDS = {"ETag"} | {
    f"Checksum{name}" for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
}
# Codes of S3's error answers; a HEAD has no body, so its code is the HTTP status.
MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion"}
MOVED = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}
REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
THROTTLED = {"429", "SlowDown", "Throttling", "RequestLimitExceeded", "TooManyRequests"}


@lru_cache
def _client(attempts: int = ATTEMPTS, connect_s: float = 10, read_s: float = 60) -> S3Client:
    retries: Any = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(connect_timeout=connect_s, read_timeout=read_s, retries=retries)
    return boto3.client("s3", config=config)


def _now() -> S3Client:
    """The client for a call: one that somebody waits for gives up sooner."""
    return _client(2, HASTY_S / 2, HASTY_S) if is_hasty() else _client()


class S3Storage(BucketStorage):
    scheme = "s3"

    def _head(self, address: Address) -> ObjectInfo:
        found = _now().head_object(Bucket=address.bucket, Key=address.key)
        return ObjectInfo(
            self.uri(address),
            found["ContentLength"],
            s3_version(found.get("VersionId"), found["ETag"]),
            updated_at=found["LastModified"].timestamp(),
            content_type=found.get("ContentType", ""),
            metadata=found.get("Metadata", {}),
        )

    def _list(self, folder: Address) -> Iterator[ObjectInfo]:
        pages = _now().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.key, Delimiter="/"):
            for item in page.get("Contents", ()):
                uri = self.uri(Address(folder.bucket, item["Key"]))
                yield ObjectInfo(uri, item["Size"], s3_version(None, item["ETag"]))

    def _walk(self, prefix: Address, after: str) -> Iterator[ObjectInfo]:
        """Asks for versions: a plain listing has no version ids, which events and ``stat`` have."""
        pages = _now().get_paginator("list_object_versions")
        start: dict[str, Any] = {"KeyMarker": after} if after else {}
        for page in pages.paginate(Bucket=prefix.bucket, Prefix=prefix.key, **start):
            for item in page.get("Versions", ()):
                if item["IsLatest"]:
                    yield ObjectInfo(
                        self.uri(Address(prefix.bucket, item["Key"])),
                        item["Size"],
                        s3_version(item["VersionId"], item["ETag"]),
                        updated_at=item["LastModified"].timestamp(),
                    )

    def _download(self, address: Address, version: str, path: Path) -> None:
        bucket, key, target = address.bucket, address.key, str(path)
        if version.startswith(VERSION):
            extra: dict[str, Any] = {"VersionId": version.removeprefix(VERSION)}
            try:
                _now().download_file(bucket, key, target, ExtraArgs=extra, Config=TRANSFER)
            except boto.ClientError as error:
                if _code(error) in MISSING:
                    raise changed(self.uri(address)) from error
                raise
            return
        self._check_etag(address, version)
        _now().download_file(bucket, key, target, Config=TRANSFER)
        self._check_etag(address, version)  # it may have been replaced between two parts

    def _check_etag(self, address: Address, version: str) -> None:
        found = _now().head_object(Bucket=address.bucket, Key=address.key)
        if ETAG + found["ETag"].strip('"') != version:
            raise changed(self.uri(address))

    def _upload(self, path: Path, address: Address, content_type: str) -> None:
        _client(UPLOAD_ATTEMPTS).upload_file(
            str(path),
            address.bucket,
            address.key,
            ExtraArgs={"ContentType": content_type, "Metadata": {MARKER: owner(address)}},
            Config=TRANSFER,
        )

    def _put(self, address: Address, data: bytes, content_type: str) -> None:
        _now().put_object(
            Bucket=address.bucket,
            Key=address.key,
            Body=data,
            ContentType=content_type,
            Metadata={MARKER: owner(address)},
        )

    def _join(
        self, folder: Address, pieces: Sequence[Piece], target: Address, content_type: str
    ) -> None:
        if self._is_there(target):  # asked first: the parts would be copied for nothing
            return
        place: Any = {"Bucket": target.bucket, "Key": target.key}
        made = _now().create_multipart_upload(
            **place, ContentType=content_type, Metadata={MARKER: owner(target)}
        )
        place["UploadId"] = made["UploadId"]

        def add(number: int, group: Sequence[Piece]) -> dict[str, Any]:
            found = self._add_part(place | {"PartNumber": number}, folder, group)
            # boto3 asks for checksums where it can; S3 then wants those of all parts again.
            return {"PartNumber": number} | {
                name: value for name, value in found.items() if name in PART_FIELDS
            }

        try:
            with ThreadPoolExecutor(PARALLEL) as pool:
                groups = list(_grouped(pieces))
                parts: Any = list(pool.map(add, range(1, len(groups) + 1), groups))
            _now().complete_multipart_upload(
                **place, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            with suppress(boto.ClientError):  # it is over, or 'abort_joins' ends it later
                _now().abort_multipart_upload(**place)
            if not self._is_there(target):  # by another join, or the answer to this one was lost
                raise

    def _is_there(self, address: Address) -> bool:
        try:
            self._head(address)
        except boto.ClientError as error:
            if _code(error) not in MISSING:
                raise
            return False
        return True

    def _add_part(
        self, part: dict[str, Any], folder: Address, group: Sequence[Piece]
    ) -> Mapping[str, Any]:
        """Add pieces as one part; returns what S3 says of it. A single one is copied inside S3."""
        if len(group) == 1:
            source: Any = {"Bucket": folder.bucket, "Key": folder.child(group[0].name).key}
            return _now().upload_part_copy(**part, CopySource=source)["CopyPartResult"]
        content = b"".join(self._read_pieces(folder, group))
        return _now().upload_part(**part, Body=content)

    def abort_joins(self, prefix: str, before: float) -> None:
        address = self.address(prefix)
        pages = _now().get_paginator("list_multipart_uploads")
        with self.errors(prefix, writing=True):
            for page in pages.paginate(Bucket=address.bucket, Prefix=address.key):
                for each in page.get("Uploads", ()):
                    if each["Initiated"].timestamp() < before:
                        _now().abort_multipart_upload(
                            Bucket=address.bucket, Key=each["Key"], UploadId=each["UploadId"]
                        )

    def _stream(self, address: Address, start: int, length: int | None) -> Iterator[bytes]:
        end = "" if length is None else str(start + length - 1)
        wanted: dict[str, Any] = {"Range": f"bytes={start}-{end}"} if start or end else {}
        found = _now().get_object(Bucket=address.bucket, Key=address.key, **wanted)
        with closing(found["Body"]) as body:
            yield from body.iter_chunks(CHUNK)

    def _delete(self, address: Address) -> None:
        _now().delete_object(Bucket=address.bucket, Key=address.key)

    @contextmanager
    def errors(self, uri: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except boto.ClientError as error:
            raise _named(error, uri, writing) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            cause = StorageNotWritable if writing else StorageForbidden
            raise cause(f"no AWS credentials for {uri}") from error
        except (boto.BotoCoreError, Boto3Error) as error:
            inner = error.__context__
            if isinstance(inner, boto.ClientError):  # as the transfer manager wraps it
                raise _named(inner, uri, writing) from error
            raise StorageUnavailable(f"S3 failed for {uri}: {_first_line(error)}") from error


def _grouped(pieces: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    """Consecutive pieces that are large enough for a part together; the last may be smaller."""
    group: list[Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(each.size for each in group) >= MIN_PART_BYTES:
            yield group
            group = []
    if group:
        yield group


def _named(error: boto.ClientError, uri: str, writing: bool) -> ShoalError:
    code = _code(error)
    if code in MISSING:
        if writing:
            return StorageNotWritable(f"there is no such bucket: {uri}")
        return SourceNotFound(f"no such object: {uri}")
    if code in MOVED:
        return WrongRegion(f"the bucket is in another region: {uri}")
    if code in REFUSED:
        cause = StorageNotWritable if writing else StorageForbidden
        return cause(f"S3 refuses {uri}: {_first_line(error)}")
    if code in THROTTLED:
        return StorageThrottled(f"S3 is throttling {uri}")
    return StorageUnavailable(f"S3 failed for {uri}: {_first_line(error)}")


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
