"""Google Cloud Storage: notifications that Pub/Sub pushes, and Eventarc's CloudEvents."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from api.events.parsing import MAX_SIZE, Event, checked, document, object_uri, texts
from shoal.errors import BadEvent
from shoal.ingest.decide import Reason, Skip, UploadedObject

FINALIZE = "OBJECT_FINALIZE"
FINALIZED = "google.cloud.storage.object.v1.finalized"
MESSAGE_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
STRUCTURED = "application/cloudevents+json"


class GcsObject(BaseModel):
    """An object as Google's JSON API describes it; numbers come as text."""

    bucket: str
    name: str
    generation: int = Field(ge=0, le=MAX_SIZE)
    size: int | None = Field(None, ge=0, le=MAX_SIZE)
    contentType: str | None = None  # noqa: N815
    metadata: Any = None


class PubSubMessage(BaseModel):
    attributes: dict[str, str] = {}
    data: str | None = None


class Push(BaseModel):
    """The envelope around a Pub/Sub message."""

    message: PubSubMessage


class CloudEvent(BaseModel):
    """Structured mode: event and data in one document."""

    type: str
    data: Any = None


def parse(headers: Mapping[str, str], body: bytes) -> Event:
    """One event, in whichever of the three forms it came.

    Args:
        headers: names in lower case.

    Raises:
        BadEvent
    """
    if kind := headers.get("ce-type"):  # binary mode: the body is the data alone
        return _cloud_event(kind, document(body))
    if headers.get("content-type", "").partition(";")[0].strip().lower() == STRUCTURED:
        event = checked(CloudEvent, document(body))
        return _cloud_event(event.type, event.data)
    return _notification(checked(Push, document(body)).message)


def _cloud_event(kind: str, data: Any) -> Event:
    if kind == MESSAGE_PUBLISHED:  # Eventarc on the topic of a bucket's notifications
        return _notification(checked(Push, data).message)
    return _event(checked(GcsObject, data), kind, wanted=FINALIZED)


def _notification(message: PubSubMessage) -> Event:
    """The attributes say what happened to which object; the data, if any, is its description."""
    attributes = message.attributes
    kind = attributes.get("eventType")
    if kind is None:
        raise BadEvent("the message has no attribute 'eventType': not from a bucket")
    described = _decoded(message.data) if message.data else {}
    names = {"bucketId": "bucket", "objectId": "name", "objectGeneration": "generation"}
    known = {field: attributes[name] for name, field in names.items() if name in attributes}
    return _event(checked(GcsObject, described | known), kind, wanted=FINALIZE)


def _decoded(data: str) -> dict[str, Any]:
    try:
        return document(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadEvent("message.data: not base64") from error


def _event(stored: GcsObject, kind: str, *, wanted: str) -> Event:
    uri = object_uri("gs", stored.bucket, stored.name)
    if kind != wanted:
        return Skip(uri, Reason.NOT_AN_UPLOAD, kind[:100])
    version, content_type = str(stored.generation), stored.contentType or ""
    return UploadedObject(uri, version, stored.size, content_type, texts(stored.metadata))
