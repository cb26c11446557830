"""Who may talk to the API. Runs before routing and before any body is read.

``Gate`` finds out who asks and leaves the token in the request's scope; ``Needs`` is what a route
says of it. What outlasts a revocation is cut off.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from fastapi import Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope as AsgiScope, Send

from api.middleware.problems import problem
from api.middleware.token_cache import Caller, TokenCache
from shoal.errors import InsufficientScope, ShoalError, Unauthorized
from shoal.hosts import parse_host, parse_netloc
from shoal.model.token import Scope, Token

LOGIN = "/ui/login"
COOKIE = "shoal_session"
OPEN_PATHS = ("/healthz", "/readyz")  # probes carry no token and tell nothing
OPEN_FILES = "/static/"  # the look of the login page
# Their senders are checked by api.events.senders.
EVENT_PATHS = ("/events/gcs", "/events/s3", "/events/azure")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LOCAL = Token(name="local", scope=Scope.ADMIN)  # without tokens: whoever is on this machine
RECHECK_S = 2.0  # a request that takes longer is looked at again, and again

log = logging.getLogger(__name__)


class Gate:
    """Asks for a token, or without tokens for a loopback address as the host.

    A token comes as 'Authorization: Bearer'; from a browser that has logged in, the id of its
    session comes as a cookie.

    A page of a foreign site can point its own name at 127.0.0.1 (DNS rebinding) or send a form
    there; the Host and Origin headers, which a browser does not let it choose, tell.
    """

    def __init__(self, app: ASGIApp, known: TokenCache) -> None:
        self.app = app
        self.known = known

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPEN_PATHS or path.startswith(OPEN_FILES):
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        try:
            if not self.known.are_needed:
                _check_local(headers)
                _check_site(scope, headers)
                scope["token"] = LOCAL
            elif path == LOGIN:
                _check_site(scope, headers)
            elif path not in EVENT_PATHS:
                caller = await self._caller(scope, headers)
                scope["caller"], scope["token"] = caller, caller.token
                watch = scope["watch"] = Watch(self.known, caller)
                return await watch.run(self.app, scope, receive, send)
        except ShoalError as error:
            is_page = self.known.are_needed and scope["method"] == "GET" and _wants_page(headers)
            lost = is_page and isinstance(error, Unauthorized)
            return await (_to_login(scope) if lost else problem(error))(scope, receive, send)
        return await self.app(scope, receive, send)

    async def _caller(self, scope: AsgiScope, headers: Headers) -> Caller:
        """
        Raises:
            Unauthorized, RateLimited, RedisUnavailable
        """
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if "authorization" not in headers and session:
            _check_site(scope, headers, must=True)
            return await self.known.admit_session(session.encode("latin-1", "replace"))
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("no API token was sent")
        return await self.known.admit(secret.strip().encode("latin-1"))  # the bytes as they came


class _Cut(Exception):
    """An answer that has begun goes on to nobody."""


class Watch:
    """Cuts off a request that lasts when its caller's token is revoked, or the session ended."""

    def __init__(self, known: TokenCache, caller: Caller) -> None:
        self._known = known
        self._caller = caller
        self._due = time.monotonic() + RECHECK_S

    async def run(self, app: ASGIApp, scope: AsgiScope, receive: Receive, send: Send) -> None:
        async def checked_receive() -> Message:
            message = await receive()
            if message.get("more_body") and await self.is_over():
                raise Unauthorized("the token was revoked during the request")
            return message

        async def checked_send(message: Message) -> None:
            if message.get("more_body") and await self.is_over():
                raise _Cut
            await send(message)

        try:
            await app(scope, checked_receive, checked_send)
        except _Cut:
            name = self._caller.token.name
            log.info("%s: cut off, since the token was revoked or the session ended", name)

    async def is_over(self) -> bool:
        """Whether the caller would not be admitted any more; looks every ``RECHECK_S``."""
        if time.monotonic() < self._due:
            return False
        is_over = not await self._known.is_valid(self._caller)
        self._due = time.monotonic() + RECHECK_S
        return is_over


def _check_site(scope: AsgiScope, headers: Headers, *, must: bool = False) -> None:
    """Refuse a change that a page of another site asks for; the cookie's SameSite comes before.

    Args:
        must: also refuse one of which nothing tells where it comes from. Every browser of today
            tells; what is no browser sends no cookie by itself.

    Raises:
        Unauthorized
    """
    if scope["method"] in SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        ours = site == "same-origin"
    elif origin is not None:
        scheme, _, host = origin.partition("://")
        # Where TLS ends in front of us at a proxy that is not trusted, the scheme tells nothing.
        downgraded = scope["scheme"] == "https" and scheme != "https"
        ours = bool(host) and host == headers.get("host") and not downgraded
    else:
        ours = not must
    if not ours:
        raise Unauthorized("the request comes from another site")


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def _to_login(scope: AsgiScope) -> RedirectResponse:
    query = scope["query_string"].decode("latin-1")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{LOGIN}?to={quote(wanted, safe='')}", 303)


class Needs(HTTPBearer):
    """What a route asks of the caller's token; the OpenAPI document shows it."""

    def __init__(self) -> None:
        super().__init__(
            scheme_name="token",
            description="An API token. Each scope includes those before it: read, submit, admin.",
        )

    async def __call__(  # type: ignore[override]
        self, request: Request, wanted: SecurityScopes
    ) -> None:
        """
        Raises:
            InsufficientScope
        """
        token: Token = request.scope["token"]
        for name in wanted.scopes:
            if not token.scope.includes(Scope(name)):
                raise InsufficientScope(
                    f"this needs a token with the scope {name!r}; token {token.name!r} has "
                    f"{token.scope.value!r}"
                )


def needs(scope: Scope) -> Any:
    """For ``dependencies=`` of a route or router."""
    return Security(_NEEDS, scopes=[scope.value])


_NEEDS = Needs()


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine; an IPv6 one without brackets."""
    try:
        return parse_host(f"[{host}]" if ":" in host else host).is_loopback
    except ValueError:
        return False


def _check_local(headers: Headers) -> None:
    """
    Raises:
        Unauthorized
    """
    addresses = [headers.get("host", "")]
    if (origin := headers.get("origin")) is not None:
        addresses.append(origin.partition("://")[2])
    for address in addresses:
        if not _is_local(address):
            raise Unauthorized(
                "without API tokens, only requests from this machine are accepted, not from "
                f"{address[:80]!r}",
                hint="Use http://127.0.0.1, or set SHOAL_API_TOKENS on the API.",
            )


@lru_cache(100)
def _is_local(address: str) -> bool:
    try:
        return parse_netloc(address)[0].is_loopback
    except ValueError:
        return False
