"""Limits on request bodies, in bytes and in JSON values; uploads have their own.

A body is parsed and checked on the event loop, in one go: its limits are what keeps one request
from holding up all others.
"""

from __future__ import annotations

from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.auth import EVENT_PATHS, LOGIN

UPLOADS = "/uploads/"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class Limit(NamedTuple):
    """The most of a body that is read.

    Attributes:
        size: bytes.
        values: JSON values, which take far more time than their bytes: commas are counted.
    """

    size: int
    values: int


MAX_BODY_BYTES = 1_000_000
FORM = Limit(8_000, 1_000)
OTHERS = Limit(64_000, 2_000)
LIMITS = {
    LOGIN: FORM,
    # SNS and EventBridge send 256 KB at most, S3 itself 64 KB, Event Grid 64 KB unless it is told
    # to send batches; a push about an object in Google
    # Cloud Storage has a few KB, as its metadata has 8 KiB at most.
    **dict.fromkeys(EVENT_PATHS, Limit(262_144, 10_000)),
    # Masks: 256 KiB of run lengths.
    **dict.fromkeys(("/videos", "/videos/check", "/previews"), Limit(512_000, 20_000)),
    "/batches": Limit(MAX_BODY_BYTES, 20_000),  # 10,000 URIs
}


class BodyLimit:
    """Ends the reading of a body that is announced, or turns out, above the limit of its route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UPLOADS):
            return await self.app(scope, receive, send)
        limit = _limit(scope)
        announced = Headers(scope=scope).get("content-length", "")
        size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
        received = commas = 0

        async def counted() -> Message:
            nonlocal received, commas
            message = await receive() if size <= limit.size else {}
            body = message.get("body", b"")
            received += len(body)
            commas += body.count(b",")
            if max(size, received) > limit.size or commas > limit.values:
                # Not a ShoalError: the framework, which reads the body, lets only this one pass.
                raise HTTPException(413)
            return message

        return await self.app(scope, counted, send)


def _limit(scope: Scope) -> Limit:
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    return FORM if kind in FORMS else LIMITS.get(scope["path"], OTHERS)
