"""A limit on the size of request bodies; uploads have their own."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1_000_000
UPLOADS = "/uploads/"


class BodyLimit:
    """Ends the reading of a body that is announced, or turns out, above ``MAX_BODY_BYTES``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UPLOADS):
            return await self.app(scope, receive, send)
        announced = Headers(scope=scope).get("content-length", "")
        size = int(announced) if announced.isdecimal() else 0
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive() if size <= MAX_BODY_BYTES else {}
            received += len(message.get("body", b""))
            if max(size, received) > MAX_BODY_BYTES:
                # Not a ShoalError: the framework, which reads the body, lets only this one pass.
                raise HTTPException(413)
            return message

        return await self.app(scope, counted, send)
