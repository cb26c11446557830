"""Who is admitted: the tokens that open the API, and the sessions of browsers."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from api.middleware.lookup import Lookup
from api.middleware.rate_limit import RateLimit
from shoal.errors import RedisUnavailable, Unauthorized
from shoal.model.token import Scope, Token
from shoal.queue.connection import redis_errors
from shoal.queue.queue import JobQueue
from shoal.queue.sessions import SessionStore
from shoal.queue.tokens import TokenStore, digest_of
from shoal.settings import Settings

FRESH_S = 5.0  # how long one that another process has revoked may still open


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        digest: of the token's secret.
        session: the digest of the session's id; "" for a token in the header.
    """

    token: Token
    digest: str
    session: str = ""


class TokenCache:
    """The tokens of ``SHOAL_API_TOKENS``, which may do all, those in Redis, and the sessions.

    All are looked up by their digest: how long that takes tells nothing about a secret, since
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

    def connect(self, queue: JobQueue) -> None:
        """Take notice of the tokens and sessions in Redis, and count there."""
        self._store = SessionStore(queue.redis, queue.name)
        self._sessions = Lookup(self._store.find, FRESH_S)
        tokens = TokenStore(queue.redis, queue.name)
        tokens.index()
        self._tokens = Lookup(tokens.find, FRESH_S)
        self._limit = RateLimit(queue.redis, queue.name, self._settings.rate_limit)

    async def admit(self, secret: bytes) -> Caller:
        """Who sent the secret of a token with a request.

        Raises:
            Unauthorized: there is no such token.
            RateLimited
            RedisUnavailable: it is not known, and whether it should be cannot be told.
        """
        digest = digest_of(secret)
        token = self._fixed.get(digest) or await self._tokens.get(digest)
        if token is None:
            raise Unauthorized("the token is invalid or was revoked")
        await self._limit.take(token)
        return Caller(token, digest)

    async def admit_session(self, session_id: bytes) -> Caller:
        """Who logged in for the session of a cookie.

        Raises:
            Unauthorized: it has ended, or its token was revoked.
            RateLimited, RedisUnavailable
        """
        session = digest_of(session_id)
        digest = await self._sessions.get(session)
        token = digest and (self._fixed.get(digest) or await self._tokens.get(digest))
        if not digest or not token:
            raise Unauthorized("the session has ended: log in again")
        await self._limit.take(token)
        return Caller(token, digest, session)

    async def is_valid(self, caller: Caller) -> bool:
        """Whether a caller would still be admitted, by what Redis says now; for long answers."""
        try:
            if caller.session and await self._sessions.ask(caller.session) != caller.digest:
                return False
            return caller.digest in self._fixed or bool(await self._tokens.ask(caller.digest))
        except RedisUnavailable:  # nobody can tell
            return True

    async def begin_session(self, caller: Caller) -> str:
        """The id of a new session.

        Raises:
            RedisUnavailable
        """
        with redis_errors():
            return await run_in_threadpool(self._store.begin, caller.digest)

    async def end_session(self, caller: Caller) -> None:
        """
        Raises:
            RedisUnavailable
        """
        if caller.session:
            with redis_errors():
                await run_in_threadpool(self._store.end, caller.session)
            self._sessions.forget()

    def forget(self) -> None:
        """Look again before the next answer: a token was made or revoked."""
        self._tokens.forget()
