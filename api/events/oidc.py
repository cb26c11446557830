"""The token that Pub/Sub and Eventarc send: who signed it, for whom, and on whose behalf."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.auth import exceptions, jwt

from api.events.fetching import Fetcher
from shoal.errors import BadEventSender, SenderCheckUnavailable

CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
SKEW_S = 10
MIN_KEPT_S, MAX_KEPT_S = 300, 24 * 3600
PAUSE_S = 60  # between two fetches for keys that nobody knows
GOOD_S = 60  # a token that was good is not checked again: Pub/Sub sends one for up to an hour
MAX_GOOD = 1000


class GoogleTokens:
    """Checks tokens against Google's certificates, which are kept as long as Google says."""

    def __init__(self, audience: str, senders: Sequence[str], fetcher: Fetcher) -> None:
        self.audience = audience
        self.senders = tuple(senders)
        self._fetcher = fetcher
        self._certificates: dict[str, str] = {}
        self._fetched_at = self._fresh_until = -MAX_KEPT_S * 1.0
        self._good: dict[bytes, float] = {}  # digest of a token -> until when

    async def check(self, authorization: str) -> None:
        """
        Raises:
            BadEventSender: no token, or one that proves nothing.
            SenderCheckUnavailable: Google's certificates cannot be fetched.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise BadEventSender(
                "the request carries no token",
                hint="Give the push subscription or the trigger a service account.",
            )
        if self.knows(authorization):
            return
        self._check_claims(claims := await self._verified(token.strip()))
        if len(self._good) >= MAX_GOOD:
            self._good.clear()
        self._good[_digest(token)] = min(time.time() + GOOD_S, float(claims["exp"]))

    def knows(self, authorization: str) -> bool:
        """Whether ``check`` has found this very token good a moment ago."""
        token = authorization.partition(" ")[2]
        return time.time() < self._good.get(_digest(token), 0)

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") not in ISSUERS:
            raise BadEventSender("the token is not from Google")
        email = str(claims.get("email", "")).encode(errors="replace")
        # Every one is compared, so that the time taken tells nothing.
        known = [hmac.compare_digest(email, sender.encode()) for sender in self.senders]
        if not any(known) or claims.get("email_verified") is not True:
            raise BadEventSender(
                "the token's service account may not send events",
                hint="SHOAL_GCS_SENDERS names the service accounts that may.",
            )

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token with a good signature, in time, and for us."""
        try:
            key_id = jwt.decode_header(token).get("kid")
            if not isinstance(key_id, str):
                raise ValueError("no key id")
            certificates = await self._known(key_id)
            claims: Mapping[str, Any] = jwt.decode(
                token, certificates, audience=self.audience, clock_skew_in_seconds=SKEW_S
            )
        except (exceptions.GoogleAuthError, ValueError, TypeError, AttributeError) as error:
            raise BadEventSender(f"the token is not valid: {_line(error)}") from error
        return claims

    async def _known(self, key_id: str) -> Mapping[str, str]:
        at = time.monotonic()
        stale = at > self._fresh_until
        unknown = key_id not in self._certificates and at > self._fetched_at + PAUSE_S
        if stale or unknown:
            await self._fetch(at)
        return self._certificates

    async def _fetch(self, at: float) -> None:
        answer = await self._fetcher.get(CERTIFICATES)
        try:
            found = json.loads(answer.content)
            self._certificates = {str(name): str(pem) for name, pem in found.items()}
        except (ValueError, AttributeError) as error:
            raise SenderCheckUnavailable(f"no certificates from Google: {error}") from error
        age = re.search(r"max-age=(\d{1,9})", answer.cache_control)
        kept = min(MAX_KEPT_S, max(MIN_KEPT_S, int(age[1]) if age else 0))
        self._fetched_at, self._fresh_until = at, at + kept


def _line(error: Exception) -> str:
    """Why, without the token itself."""
    return str(error).partition(":")[0][:100]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.strip().encode(errors="replace")).digest()
