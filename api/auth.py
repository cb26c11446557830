"""Who may talk to the API. Runs before routing and before any body is read.

``Gate`` finds out who asks and leaves the token in the request's scope; ``Needs`` is what a route
says of it.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from fastapi import Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.known import KnownTokens
from api.problems import problem
from shoal import tokens
from shoal.errors import InsufficientScope, ShoalError, Unauthorized
from shoal.tokens import Token

LOGIN = "/ui/login"
COOKIE = "shoal_token"
OPEN_PATHS = ("/healthz", "/readyz")  # probes carry no token and tell nothing
OPEN_FILES = "/static/"  # the look of the login page
EVENT_PATHS = ("/events/gcs", "/events/s3")  # their senders are checked by api.events.senders
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LOCAL = Token(name="local", scope=tokens.Scope.ADMIN)  # without tokens: whoever is on this machine


class Gate:
    """Asks for a token, or without tokens for a loopback address as the host.

    A token comes as 'Authorization: Bearer', or from a browser that has logged in as a cookie.

    A page of a foreign site can point its own name at 127.0.0.1 (DNS rebinding) or send a form
    there; the Host and Origin headers, which a browser does not let it choose, tell.
    """

    def __init__(self, app: ASGIApp, known: KnownTokens) -> None:
        self.app = app
        self.known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OPEN_PATHS or path.startswith(OPEN_FILES):
            return await self.app(scope, receive, send)
        headers, answer = Headers(scope=scope), self.app
        try:
            if not self.known.are_needed:
                _check_local(headers)
                scope["token"] = LOCAL
            elif path not in (*EVENT_PATHS, LOGIN):
                scope["token"] = await self._token(headers, scope["method"])
        except ShoalError as error:
            is_page = self.known.are_needed and scope["method"] == "GET" and _wants_page(headers)
            lost = is_page and isinstance(error, Unauthorized)
            answer = _to_login(scope) if lost else problem(error)
        return await answer(scope, receive, send)

    async def _token(self, headers: Headers, method: str) -> Token:
        """
        Raises:
            Unauthorized, RateLimited, RedisUnavailable
        """
        if "authorization" not in headers and (cookie := _cookie(headers)):
            if method not in SAFE_METHODS and not _is_same_origin(headers):
                raise Unauthorized("the request comes from another site")
            return await self.known.admit(cookie)
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("the request carries no token")
        return await self.known.admit(secret.strip().encode("latin-1"))  # the bytes as they came


def _cookie(headers: Headers) -> bytes:
    """The token of a browser that has logged in."""
    return unquote_to_bytes(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))


def _is_same_origin(headers: Headers) -> bool:
    """Whether a page of ours sent the request; SameSite=Strict is the first line of defence."""
    if site := headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == headers.get("host")


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def _to_login(scope: Scope) -> RedirectResponse:
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
            if not token.scope.includes(tokens.Scope(name)):
                raise InsufficientScope(
                    f"this needs a token with the scope {name!r}, {token.name!r} has "
                    f"{token.scope.value!r}"
                )


def needs(scope: tokens.Scope) -> Any:
    """For ``dependencies=`` of a route or router."""
    return Security(_NEEDS, scopes=[scope.value])


_NEEDS = Needs()


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_local(headers: Headers) -> None:
    """
    Raises:
        Unauthorized
    """
    addresses = ["//" + headers.get("host", ""), headers.get("origin")]
    for address in addresses:
        if address is not None and not is_loopback(_hostname(address)):
            raise Unauthorized(
                f"without API tokens only this machine is served, not {address.lstrip('/')!r}",
                hint="Use http://127.0.0.1, or set SHOAL_API_TOKENS on the API.",
            )


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
