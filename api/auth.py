"""Who may talk to the API. Runs before routing and before any body is read."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes, urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from shoal.errors import Unauthorized

LOGIN = "/ui/login"
COOKIE = "shoal_token"
OPEN_PATHS = ("/healthz", "/readyz", LOGIN)  # probes carry no token and tell nothing
EVENT_PATHS = ("/events/gcs", "/events/s3")  # their senders are checked by api.events.senders
OPEN_FILES = "/static/"  # the look of the login page
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def is_known(given: bytes, tokens: Sequence[SecretStr]) -> bool:
    """Whether it is one of the tokens. All are compared, so that the time taken tells nothing."""
    known = [token.get_secret_value().encode() for token in tokens]
    return any([hmac.compare_digest(given, each) for each in known])  # noqa: C419


class Gate:
    """Asks for a token, or without tokens for a loopback address as the host.

    A token comes as 'Authorization: Bearer', or from a browser that has logged in as a cookie.

    A page of a foreign site can point its own name at 127.0.0.1 (DNS rebinding) or send a form
    there; the Host and Origin headers, which a browser does not let it choose, tell.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[SecretStr]) -> None:
        self.app = app
        self.tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers, path = Headers(scope=scope), scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FILES)
        if not self.tokens:
            is_probe = is_open and path != LOGIN
            refusal = None if is_probe else _check_local(headers)
        else:
            is_event = path in EVENT_PATHS
            refusal = None if is_open or is_event else self._check_token(headers, scope["method"])
        answer: ASGIApp = self.app
        if refusal:
            is_page = self.tokens and scope["method"] == "GET" and _wants_page(headers)
            answer = _to_login(scope) if is_page else problem(refusal)
        return await answer(scope, receive, send)

    def _check_token(self, headers: Headers, method: str) -> Unauthorized | None:
        if "authorization" not in headers and (cookie := _cookie(headers)):
            if method not in SAFE_METHODS and not _is_same_origin(headers):
                return Unauthorized("the request comes from another site")
            if is_known(cookie, self.tokens):
                return None
            return Unauthorized("the token is not known here any more")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return Unauthorized("the request carries no token")
        given = token.strip().encode("latin-1")  # the bytes as they came
        if not is_known(given, self.tokens):
            return Unauthorized("the token is not known here")
        return None


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


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_local(headers: Headers) -> Unauthorized | None:
    addresses = ["//" + headers.get("host", ""), headers.get("origin")]
    for address in addresses:
        if address is not None and not is_loopback(_hostname(address)):
            return Unauthorized(
                f"without API tokens only this machine is served, not {address.lstrip('/')!r}",
                hint="Use http://127.0.0.1, or set SHOAL_API_TOKENS on the API.",
            )
    return None


def _hostname(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
