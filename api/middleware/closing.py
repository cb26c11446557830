"""What requests are told that still wait when the server stops."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.problems import problem
from shoal.errors import ShuttingDown


class Closing:
    """Answers 503 to a request that is cut off before its answer has begun.

    The server cancels what has not ended ``STOP_WAIT_S`` after it was told to stop.
    """

    def __init__(self, app: ASGIApp, closing: asyncio.Event) -> None:
        self.app = app
        self.closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except asyncio.CancelledError:
            if scope["type"] != "http" or begun or not self.closing.is_set():
                raise
            await problem(ShuttingDown("the API is stopping"))(scope, receive, send)
