"""``/events``: what bucket senders post to, and what was skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from api import examples
from api.deps import QueueDep
from api.events import eventbridge, gcs, s3
from api.events.inbox import Inbox, SkippedLog
from api.events.parsing import Event, document
from api.events.sns import is_message
from api.examples import shown
from api.problems import documented
from shoal.errors import (
    BadEvent,
    BadEventSender,
    EventsNotConfigured,
    RedisUnavailable,
    SenderCheckUnavailable,
    StorageUnavailable,
    UploadTooLarge,
)
from shoal.wire import Receipt, Skipped

GCS, S3 = "/events/gcs", "/events/s3"

# Senders that prove themselves by their own means: api.auth.Gate asks them for no API token.
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


class Posted(NamedTuple):
    """What a sender has posted, and where it goes."""

    inbox: Inbox
    headers: Headers
    body: bytes


async def _posted(request: Request) -> Posted:
    return Posted(request.app.state.inbox, request.headers, await request.body())


# One dependency, not five: they are resolved for every event.
PostedDep = Annotated[Posted, Depends(_posted)]


@receiving.post(
    GCS,
    responses=shown(200, "All that matters is queued.", examples.RECEIPT) | _REFUSALS,
    openapi_extra=_body("A Pub/Sub push, or a CloudEvent of Eventarc in either mode."),
)
async def gcs_event(posted: PostedDep) -> Receipt:
    """An event of a Google Cloud Storage bucket, with the token of its service account."""
    inbox, headers, body = posted
    if not inbox.senders.knows_google(headers):
        await run_in_threadpool(inbox.senders.check_google, headers)
    return await inbox.take("gcs", [gcs.parse(headers, body)])


@receiving.post(
    S3,
    responses=shown(200, "All that matters is queued.", examples.RECEIPT) | _REFUSALS,
    openapi_extra=_body("A message of SNS, an event of EventBridge, or S3 records."),
)
async def s3_event(posted: PostedDep) -> Receipt:
    """Events of an S3 bucket: signed by SNS, or with an event token from anyone else."""
    inbox, headers, body = posted
    opened = document(body)
    sender = "eventbridge" if eventbridge.is_event(opened) else "s3"
    if is_message(opened):  # whatever token it carries, the signature counts
        content = await run_in_threadpool(inbox.senders.open_sns, opened)
        if content is None:
            return Receipt()
        sender, opened = "sns", document(content)
    else:
        inbox.senders.check_token(headers)
    return await inbox.take(sender, _s3_events(opened))


def _s3_events(opened: dict[str, Any]) -> Iterator[Event]:
    if s3.is_test(opened):
        return
    if eventbridge.is_event(opened):
        yield eventbridge.parse(opened)
    else:
        yield from s3.parse(opened)


@router.get(
    "/events/skipped",
    responses=shown(200, "Counts, and the last hundred.", examples.SKIPPED),
)
def skipped_events(queue: QueueDep) -> Skipped:
    """Announced uploads that led to no job, and why."""
    return SkippedLog(queue.redis, queue.name).read()
