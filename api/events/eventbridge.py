"""S3 events by way of EventBridge: one to a document, the key as it is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.events.parsing import MAX_SIZE, Event, checked, object_uri
from shoal.ingest.decide import Reason, Skip, UploadedObject
from shoal.storage.base import s3_version

CREATED = "Object Created"


class EventBridgeBucket(BaseModel):
    name: str


class EventBridgeObject(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    key: str
    size: int | None = Field(None, ge=0, le=MAX_SIZE)
    etag: str | None = None
    version_id: str | None = Field(None, alias="version-id")


class Detail(BaseModel):
    bucket: EventBridgeBucket
    object: EventBridgeObject


class Document(BaseModel):
    kind: str = Field(alias="detail-type")
    detail: Detail


def is_event(document: dict[str, Any]) -> bool:
    return "detail-type" in document


def parse(document: dict[str, Any]) -> Event:
    """
    Raises:
        BadEvent
    """
    event = checked(Document, document)
    stored = event.detail.object
    uri = object_uri("s3", event.detail.bucket.name, stored.key)
    if event.kind != CREATED:
        return Skip(uri, Reason.NOT_AN_UPLOAD, event.kind[:100])
    known = stored.etag or (stored.version_id or "null") != "null"
    version = s3_version(stored.version_id, stored.etag or "") if known else ""
    return UploadedObject(uri, version, stored.size)
