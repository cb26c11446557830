"""An id for each request, in its answer and in the lines that are logged on its way."""

from __future__ import annotations

import logging
import random
import re
import time
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.auth import EVENT_PATHS, SAFE_METHODS
from shoal import log_context
from shoal.model.ids import JOB_ID
from shoal.model.token import Token

log = logging.getLogger(__name__)

HEADER = "X-Request-ID"
NOBODY = "-"  # is no token's name
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_JOB = re.compile(rf"/videos/({JOB_ID})(?:/|$)")


class RequestLog:
    """Logs who changed what, what a token did not suffice for, and what failed for a fault of ours.

    It runs around ``Gate``, which leaves the caller's token in the scope that they share. Bucket
    events are left out: there are thousands, and ``shoal_ingest_uploads_total`` counts them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in EVENT_PATHS:
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _GIVEN.fullmatch(given) else f"{random.getrandbits(64):016x}"
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        job = _JOB.search(scope["path"])
        with log_context.about(request=request_id, **({"job": job[1]} if job else {})):
            started = time.monotonic()
            try:
                await self.app(scope, receive, answer)
            finally:
                if scope["method"] not in SAFE_METHODS or status == 403 or status >= 500:
                    _tell(scope, status, time.monotonic() - started)
        return None


def _tell(scope: Scope, status: int, seconds: float) -> None:
    token: Token | None = scope.get("token")
    name = token.name if token else NOBODY
    path = quote(scope["path"])  # or its line breaks would make lines of their own
    log.info("%s: %s %s: %d, %.0f ms", name, scope["method"], path, status, 1000 * seconds)
