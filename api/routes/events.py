"""``/events``: the endpoints of bucket events, and the skipped uploads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from api import examples
from api.deps import QueueDep
from api.events import eventbridge, eventgrid, gcs, s3
from api.events.inbox import Inbox, SkippedLog
from api.events.parsing import Event, document
from api.events.sns import is_message
from api.examples import shown
from api.json_response import ModelResponse
from api.middleware.problems import documented
from shoal.client.schemas import Receipt, Skipped
from shoal.errors import (
    BadEvent,
    BadEventSender,
    EventsNotConfigured,
    RedisUnavailable,
    SenderCheckUnavailable,
    StorageUnavailable,
    UploadTooLarge,
)

GCS, S3, AZURE = "/events/gcs", "/events/s3", "/events/azure"

# Senders have their own authentication; api.middleware.auth requires no API token here.
receiving = APIRouter(tags=["events"])
router = APIRouter(tags=["events"])

_REFUSALS = documented(
    BadEvent,
    BadEventSender,
    UploadTooLarge,
    EventsNotConfigured,
    SenderCheckUnavailable,
    StorageUnavailable,
    RedisUnavailable,
)


def _body(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


async def _posted(request: Request) -> tuple[Inbox, Headers, bytes]:
    """No dependency: to resolve one takes longer than to parse an event."""
    return request.app.state.inbox, request.headers, await request.body()


@receiving.post(
    GCS,
    response_model=Receipt,
    responses=shown(200, "All matching uploads are queued or already known.", examples.RECEIPT)
    | _REFUSALS,
    openapi_extra=_body(
        "A Pub/Sub push, or a CloudEvent of Eventarc in binary or structured mode."
    ),
)
async def gcs_event(request: Request) -> Response:
    """Receive an event of a Google Cloud Storage bucket, authenticated by Google's OIDC token."""
    inbox, headers, body = await _posted(request)
    if not inbox.senders.knows_google(headers):
        await inbox.senders.check_google(headers)
    return ModelResponse(await inbox.take("gcs", [gcs.parse(headers, body)]))


@receiving.post(
    S3,
    response_model=Receipt,
    responses=shown(200, "All matching uploads are queued or already known.", examples.RECEIPT)
    | _REFUSALS,
    openapi_extra=_body("An SNS message, an EventBridge event, or S3 event records."),
)
async def s3_event(request: Request) -> Response:
    """Receive events of an S3 bucket, authenticated by SNS signature or event token."""
    inbox, headers, body = await _posted(request)
    opened = document(body)
    sender = "eventbridge" if eventbridge.is_event(opened) else "s3"
    if is_message(opened):  # always authenticated by its signature
        content = await inbox.senders.open_sns(opened)
        if content is None:
            return ModelResponse(Receipt())
        sender, opened = "sns", document(content)
    else:
        inbox.senders.check_token(headers)
    return ModelResponse(await inbox.take(sender, _s3_events(opened)))


def _s3_events(opened: dict[str, Any]) -> Iterator[Event]:
    if s3.is_test(opened):
        return
    if eventbridge.is_event(opened):
        yield eventbridge.parse(opened)
    else:
        yield from s3.parse(opened)


@receiving.options(AZURE, responses=documented(BadEvent))
def azure_handshake(request: Request) -> Response:
    """Answer the handshake of a CloudEvents webhook. It grants nothing: events need a token."""
    origin = eventgrid.allowed_origin(request.headers)
    return Response(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})


@receiving.post(
    AZURE,
    response_model=Receipt,
    responses=shown(200, "All matching uploads are queued or already known.", examples.RECEIPT)
    | _REFUSALS,
    openapi_extra=_body("Events of Event Grid: CloudEvents 1.0 or Event Grid's own schema."),
)
async def azure_event(request: Request) -> Response:
    """Receive events of an Azure storage account, authenticated by event token.

    A subscription validation event is answered with its code.
    """
    inbox, headers, body = await _posted(request)
    inbox.senders.check_token(headers)
    opened = eventgrid.documents(body)
    if code := eventgrid.validation_code(opened):
        return JSONResponse({"validationResponse": code})
    return ModelResponse(await inbox.take("eventgrid", map(eventgrid.parse, opened)))


@router.get(
    "/events/skipped",
    responses=shown(200, "Counts by reason, and the last 100.", examples.SKIPPED),
)
def skipped_events(queue: QueueDep) -> Skipped:
    """List uploads that were not processed, and why."""
    return SkippedLog(queue.redis, queue.name).read()
