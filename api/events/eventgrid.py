"""Events of Azure Blob Storage by way of Event Grid: CloudEvents 1.0, or Event Grid's own schema.

The name of a blob is taken from its URL, as Azure's own functions do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, BaseModel, Field, TypeAdapter, ValidationError

from api.events.parsing import MAX_SIZE, Event, checked, object_uri
from shoal.errors import BadEvent
from shoal.ingest.decide import Reason, Skip, UploadedObject

CREATED = "Microsoft.Storage.BlobCreated"
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
ORIGIN = "eventgrid.azure.net"
MAX_EVENTS = 1000
CODE_CHARS = 200

_DOCUMENTS = TypeAdapter(dict[str, Any] | list[dict[str, Any]])


class StoredBlob(BaseModel):
    url: str = Field(max_length=8192)
    content_type: str = Field("", alias="contentType", max_length=1000)
    size: int | None = Field(None, alias="contentLength", ge=0, le=MAX_SIZE)
    etag: str = Field("", alias="eTag", max_length=200)


class GridEvent(BaseModel):
    kind: str = Field(validation_alias=AliasChoices("type", "eventType"))
    data: dict[str, Any]


class Validation(BaseModel):
    code: str = Field(alias="validationCode", max_length=CODE_CHARS)


def documents(body: bytes) -> list[dict[str, Any]]:
    """The events of a delivery, which has one or a list of them.

    Raises:
        BadEvent
    """
    try:
        found = _DOCUMENTS.validate_json(body)
    except ValidationError as error:
        raise BadEvent("the body is neither a JSON object nor a list of them") from error
    events = found if isinstance(found, list) else [found]
    if not 0 < len(events) <= MAX_EVENTS:
        raise BadEvent(f"the body has {len(events)} events")
    return events


def allowed_origin(headers: Mapping[str, str]) -> str:
    """What answers the handshake of CloudEvents webhooks: the origin that may deliver.

    Raises:
        BadEvent: another origin asks, or none.
    """
    if headers.get("webhook-request-origin", "").lower() != ORIGIN:
        raise BadEvent("this is no handshake of Event Grid")
    return ORIGIN


def validation_code(events: list[dict[str, Any]]) -> str | None:
    """The code that answers the handshake of Event Grid's own schema; ``None`` where it is none.

    Raises:
        BadEvent
    """
    first = checked(GridEvent, events[0])
    return checked(Validation, first.data).code if first.kind == VALIDATION else None


def parse(document: dict[str, Any]) -> Event:
    """
    Raises:
        BadEvent
    """
    event = checked(GridEvent, document)
    if not event.kind.startswith("Microsoft.Storage."):
        raise BadEvent("type: not an event of a storage account")
    blob = checked(StoredBlob, event.data)
    uri = _uri(blob.url)
    if event.kind != CREATED:
        return Skip(uri, Reason.NOT_AN_UPLOAD, event.kind[:100])
    version = blob.etag.strip('"')
    return UploadedObject(uri, version, blob.size, content_type=blob.content_type)


def _uri(url: str) -> str:
    """
    Raises:
        BadEvent
    """
    try:
        path = urlsplit(url).path
    except ValueError as error:
        raise BadEvent("url: not a URL") from error
    container, _, key = path.removeprefix("/").partition("/")
    return object_uri("az", container, unquote(key))
