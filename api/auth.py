"""Who may talk to the API. Runs before routing and before any body is read."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from shoal.errors import Unauthorized

OPEN_PATHS = ("/healthz", "/readyz")  # probes carry no token and tell nothing
EVENT_PATHS = ("/events/gcs", "/events/s3")  # their senders are checked by api.events.senders


class Gate:
    """Asks for a Bearer token, or without tokens for a loopback address as the host.

    A page of a foreign site can point its own name at 127.0.0.1 (DNS rebinding) or send a form
    there; the Host and Origin headers, which a browser does not let it choose, tell.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[SecretStr]) -> None:
        self.app = app
        self.tokens = [token.get_secret_value().encode() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        if not self.tokens:
            refusal = _check_local(headers)
        else:
            refusal = None if scope["path"] in EVENT_PATHS else self._check_token(headers)
        return await (problem(refusal) if refusal else self.app)(scope, receive, send)

    def _check_token(self, headers: Headers) -> Unauthorized | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return Unauthorized("the request carries no token")
        given = token.strip().encode("latin-1")  # the bytes as they came
        # Every token is compared, so that the time taken tells nothing.
        if not any([hmac.compare_digest(given, known) for known in self.tokens]):  # noqa: C419
            return Unauthorized("the token is not known here")
        return None


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
