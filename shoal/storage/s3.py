"""``s3://``: Amazon S3, and what speaks its protocol (``AWS_ENDPOINT_URL_S3``). Credentials come
from AWS's own chain; a version is the version id, or the ETag where the bucket keeps none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
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
from shoal.storage.base import ETAG, MARKER, VERSION, ObjectInfo, s3_version
from shoal.storage.buckets import (
    CHUNK,
    PARALLEL,
    PART_BYTES,
    Address,
    BucketStorage,
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
# Codes of S3's error answers; a HEAD has no body, so its code is the HTTP status.
MISSING = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion"}
MOVED = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}
REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
THROTTLED = {"429", "SlowDown", "Throttling", "RequestLimitExceeded", "TooManyRequests"}


@lru_cache
def _client(attempts: int = ATTEMPTS) -> S3Client:
    retries: Any = {"mode": "standard", "total_max_attempts": attempts}
    config = Config(connect_timeout=10, read_timeout=60, retries=retries)
    return boto3.client("s3", config=config)


class S3Storage(BucketStorage):
    scheme = "s3"

    def _head(self, address: Address) -> ObjectInfo:
        found = _client().head_object(Bucket=address.bucket, Key=address.key)
        return ObjectInfo(
            self.uri(address),
            found["ContentLength"],
            s3_version(found.get("VersionId"), found["ETag"]),
            updated_at=found["LastModified"].timestamp(),
            content_type=found.get("ContentType", ""),
            metadata=found.get("Metadata", {}),
        )

    def _list(self, folder: Address) -> Iterator[ObjectInfo]:
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.key, Delimiter="/"):
            for item in page.get("Contents", ()):
                uri = self.uri(Address(folder.bucket, item["Key"]))
                yield ObjectInfo(uri, item["Size"], s3_version(None, item["ETag"]))

    def _walk(self, prefix: Address, after: str) -> Iterator[ObjectInfo]:
        """Asks for versions: a plain listing has no version ids, which events and ``stat`` have."""
        pages = _client().get_paginator("list_object_versions")
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
                _client().download_file(bucket, key, target, ExtraArgs=extra, Config=TRANSFER)
            except boto.ClientError as error:
                if _code(error) in MISSING:
                    raise changed(self.uri(address)) from error
                raise
            return
        self._check_etag(address, version)
        _client().download_file(bucket, key, target, Config=TRANSFER)
        self._check_etag(address, version)  # it may have been replaced between two parts

    def _check_etag(self, address: Address, version: str) -> None:
        found = _client().head_object(Bucket=address.bucket, Key=address.key)
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

    def _stream(self, address: Address, start: int, length: int | None) -> Iterator[bytes]:
        end = "" if length is None else str(start + length - 1)
        wanted: dict[str, Any] = {"Range": f"bytes={start}-{end}"} if start or end else {}
        found = _client().get_object(Bucket=address.bucket, Key=address.key, **wanted)
        with closing(found["Body"]) as body:
            yield from body.iter_chunks(CHUNK)

    def _delete(self, address: Address) -> None:
        _client().delete_object(Bucket=address.bucket, Key=address.key)

    @contextmanager
    def errors(self, uri: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except boto.ClientError as error:
            raise _named(error, uri, writing) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            cause = StorageNotWritable if writing else StorageForbidden
            raise cause(f"there are no AWS credentials for {uri}") from error
        except (boto.BotoCoreError, Boto3Error) as error:
            inner = error.__context__
            if isinstance(inner, boto.ClientError):  # as the transfer manager wraps it
                raise _named(inner, uri, writing) from error
            raise StorageUnavailable(f"S3 failed with {uri}: {_first_line(error)}") from error


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
    return StorageUnavailable(f"S3 failed with {uri}: {_first_line(error)}")


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
