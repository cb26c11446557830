"""The tokens that open the API, at hand: asking Redis for each request would cost too much."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool

from api.rate import RateLimit
from shoal.errors import RedisUnavailable, Unauthorized
from shoal.queue import JobQueue, redis_errors
from shoal.settings import Settings
from shoal.tokens import Scope, Token, TokenStore, digest_of

FRESH_S = 5.0  # how long one that another process has revoked may still open


class KnownTokens:
    """The tokens of ``SHOAL_API_TOKENS``, which may do all, and those in Redis.

    Tokens are looked up by their digest: how long that takes tells nothing about a secret, since
    whoever guesses cannot choose what the digest begins with.

    Attributes:
        are_needed: without a token in the settings the API serves its own machine only.
    """

    def __init__(self, settings: Settings) -> None:
        self.are_needed = bool(settings.api_tokens)
        self._settings = settings
        self._fixed = {
            digest_of(secret.get_secret_value().encode()): Token(
                name=f"SHOAL_API_TOKENS[{number}]", scope=Scope.ADMIN
            )
            for number, secret in enumerate(settings.api_tokens)
        }
        self._store: TokenStore | None = None
        self._limit: RateLimit | None = None
        self._kept: Mapping[str, Token] = {}
        self._fresh_until = 0.0

    def connect(self, queue: JobQueue) -> None:
        """Take notice of the tokens in Redis, and count there."""
        self._store = TokenStore(queue.redis, queue.name)
        self._limit = RateLimit(queue.redis, queue.name, self._settings.rate_limit)

    async def admit(self, secret: bytes) -> Token:
        """The token of a secret that came with a request.

        Raises:
            Unauthorized: there is none.
            RateLimited
            RedisUnavailable: it is not known, and whether it should be cannot be told.
        """
        token = await self.find(secret)
        if token is None:
            raise Unauthorized("the token is not known here")
        if self._limit:
            await self._limit.take(token)
        return token

    async def find(self, secret: bytes) -> Token | None:
        """
        Raises:
            RedisUnavailable
        """
        digest = digest_of(secret)
        if fixed := self._fixed.get(digest):
            return fixed
        is_new = digest not in self._kept
        if is_new or time.monotonic() > self._fresh_until:
            await self._refresh(must=is_new)
        return self._kept.get(digest)

    def forget(self) -> None:
        """Look again before the next answer: a token was made or revoked."""
        self._fresh_until = 0.0

    async def _refresh(self, *, must: bool) -> None:
        """Read the tokens again; those that were known stay so while Redis is away."""
        if self._store is None:
            return
        self._fresh_until = time.monotonic() + FRESH_S
        try:
            with redis_errors():
                self._kept = await run_in_threadpool(self._store.by_digest)
        except RedisUnavailable:
            if must:
                raise
