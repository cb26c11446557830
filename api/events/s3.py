"""S3 records, as S3 itself writes them, and MinIO, Ceph and others after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_plus

from pydantic import BaseModel, Field

from api.events.parsing import MAX_SIZE, Event, checked, object_uri, texts
from shoal.errors import BadEvent
from shoal.ingest.decide import Reason, Skip, UploadedObject
from shoal.storage.base import s3_version

CREATED = "ObjectCreated:"
CEPH = "ceph:s3"  # writes keys as they are; all others encode them as in an HTML form
META = "x-amz-meta-"
MAX_RECORDS = 100  # S3 sends one; as many as this fit into its 64 KB


class S3Bucket(BaseModel):
    name: str


class S3Object(BaseModel):
    key: str
    size: int | None = Field(None, ge=0, le=MAX_SIZE)
    eTag: str | None = None  # noqa: N815
    versionId: str | None = None  # noqa: N815
    contentType: str | None = None  # noqa: N815 - MinIO's
    userMetadata: Any = None  # noqa: N815 - MinIO's
    metadata: Any = None  # Ceph's


class Entity(BaseModel):
    bucket: S3Bucket
    object: S3Object


class S3Record(BaseModel):
    eventName: str  # noqa: N815
    eventSource: str = ""  # noqa: N815
    s3: Entity


class Notification(BaseModel):
    Records: list[Any]


def is_test(document: dict[str, Any]) -> bool:
    """What S3 sends to a new target, to see whether it may."""
    return document.get("Event") == "s3:TestEvent"


def parse(document: dict[str, Any]) -> Iterator[Event]:
    """Each record on its own: one that cannot be read is skipped as malformed.

    Raises:
        BadEvent: there is not a single record that can be read, or there are too many.
    """
    records = checked(Notification, document).Records
    if len(records) > MAX_RECORDS:
        raise BadEvent(
            f"{len(records)} records were sent, {MAX_RECORDS} is the limit",
            hint="Send fewer at a time, as S3 itself does.",
        )
    faults: list[BadEvent] = []
    for number, raw in enumerate(records):
        try:
            event = _event(checked(S3Record, raw))
        except BadEvent as error:
            faults.append(error)
            if len(faults) == len(records):
                raise
            yield Skip("", Reason.MALFORMED, f"record {number}: {error}")
        else:
            yield event


def _event(record: S3Record) -> Event:
    stored = record.s3.object
    key = stored.key if record.eventSource == CEPH else _decoded(stored.key)
    uri = object_uri("s3", record.s3.bucket.name, key)
    if not record.eventName.removeprefix("s3:").startswith(CREATED):
        return Skip(uri, Reason.NOT_AN_UPLOAD, record.eventName[:100])
    etag = (stored.eTag or "").strip('"')
    known = etag or (stored.versionId or "null") != "null"
    version = s3_version(stored.versionId, etag) if known else ""
    return UploadedObject(uri, version, stored.size, stored.contentType or "", _metadata(stored))


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise BadEvent(f"not the key of an object: {key[:80]!r}") from error


def _metadata(stored: S3Object) -> dict[str, str]:
    """MinIO tells it as a map, Ceph as a list of keys and values; S3 itself does not tell."""
    values: Any = stored.userMetadata
    if isinstance(stored.metadata, list):
        pairs = (item for item in stored.metadata if isinstance(item, dict))
        values = {item.get("key"): item.get("val") for item in pairs}
    return {name.removeprefix(META): value for name, value in texts(values).items()}
