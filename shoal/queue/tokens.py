"""API tokens: random, shown once, and kept in Redis as their SHA-256 only.

Keys, below the queue's name: ``tokens``, a hash of name -> token as JSON, and ``tokens:names``, a
hash of digest -> name: the token of a secret is found in two steps, however many there are.

A token is 256 random bits, so a plain hash is as good as a slow one: nobody can try them out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict, Unpack

from shoal.errors import TokenExists, TokenNotFound
from shoal.model.record import now, text
from shoal.model.share import Level
from shoal.model.token import Limits, Scope, Token
from shoal.queue.connection import repeatable
from shoal.queue.unreadable import readable

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis

PREFIX = "shoal_"  # by which scanners for secrets, and our own log, know one


class Terms(TypedDict, total=False):
    """What a token may have besides its scope."""

    priority: Level
    weight: int
    limits: Limits


class _Kept(Token, frozen=True):
    digest: str


class TokenStore:
    """The tokens of one Shoal."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.key = f"{namespace}:tokens"
        self.names_key = f"{namespace}:tokens:names"

    def create(
        self, name: str, scope: Scope, *, by: str = "", **terms: Unpack[Terms]
    ) -> tuple[Token, str]:
        """A new token, and its secret, which nobody can get a second time.

        Raises:
            TokenExists: the name is taken.
            RedisUnavailable
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(name=name, scope=scope, created_at=now(), created_by=by, **terms)
        kept = _Kept(**token.model_dump(), digest=digest_of(secret.encode()))
        if not repeatable(lambda: self._keep(kept)):
            self.redis.hdel(self.names_key, kept.digest)
            raise TokenExists(f"there is a token {name!r} already")
        return token, secret

    def _keep(self, kept: _Kept) -> bool:
        """Whether the name was free, or has been this very token's."""
        value = kept.model_dump_json()
        self.redis.hset(self.names_key, kept.digest, kept.name)  # the token itself comes last
        if self.redis.hsetnx(self.key, kept.name, value):
            return True
        return text(self.redis.hget(self.key, kept.name) or "") == value

    def list(self) -> list[Token]:
        """Oldest first."""
        return sorted(map(_shown, self._all()), key=lambda token: token.created_at)

    def get(self, name: str) -> Token | None:
        """The token of a name."""
        value = self.redis.hget(self.key, name)
        entries = [(name, value)] if value else []
        found = readable("token", entries, _Kept.model_validate_json)
        return _shown(found[0][1]) if found else None

    def index(self) -> None:
        """Have tokens found by digest that an earlier release made, which kept no names."""
        pipe = self.redis.pipeline()
        for kept in self._all():
            pipe.hset(self.names_key, kept.digest, kept.name)
        pipe.execute()

    def _all(self) -> Iterable[_Kept]:
        entries = ((text(name), value) for name, value in self.redis.hgetall(self.key).items())
        return (kept for _, kept in readable("token", entries, _Kept.model_validate_json))

    def find(self, digest: str) -> Token | None:
        """The token whose secret has this digest."""
        name = self.redis.hget(self.names_key, digest)
        value = self.redis.hget(self.key, text(name)) if name else None
        if not value:
            return None
        for _, kept in readable("token", [(text(name), value)], _Kept.model_validate_json):
            if kept.digest == digest:
                return _shown(kept)
        return None

    def revoke(self, name: str) -> None:
        """
        Raises:
            TokenNotFound
        """
        value = self.redis.hget(self.key, name)
        if value is None or not self.redis.hdel(self.key, name):
            raise TokenNotFound(f"there is no token {name[:80]!r}")
        for _, kept in readable("token", [(name, value)], _Kept.model_validate_json):
            self.redis.hdel(self.names_key, kept.digest)


def _shown(kept: _Kept) -> Token:
    return Token(**kept.model_dump(exclude={"digest"}))


def digest_of(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
