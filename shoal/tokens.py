"""API tokens: random, shown once, and kept in Redis as their SHA-256 only.

Key, below the queue's name: ``tokens``, a hash of name -> token as JSON.

A token is 256 random bits, so a plain hash is as good as a slow one: nobody can try them out.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from shoal.errors import TokenExists, TokenNotFound
from shoal.records import now, text

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis

PREFIX = "shoal_"  # by which scanners for secrets, and our own log, know one
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class Scope(StrEnum):
    """What a token is good for; each includes those before it."""

    READ = "read"  # look at jobs, results and the queue
    SUBMIT = "submit"  # upload, submit, cancel, retry
    ADMIN = "admin"  # tokens, and what concerns all jobs at once

    def includes(self, other: Scope) -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(other)


class Token(BaseModel, frozen=True):
    """Who it is for and what it opens; never the token itself."""

    name: str
    scope: Scope
    created_at: float = Field(0, description="Seconds since the epoch.")
    created_by: str = Field("", description="The name of the token that made it.")


class _Kept(Token, frozen=True):
    digest: str


class TokenStore:
    """The tokens of one Shoal."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.key = f"{namespace}:tokens"

    def create(self, name: str, scope: Scope, *, by: str = "") -> tuple[Token, str]:
        """A new token, and its secret, which nobody can get a second time.

        Raises:
            TokenExists: the name is taken.
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(name=name, scope=scope, created_at=now(), created_by=by)
        kept = _Kept(**token.model_dump(), digest=digest_of(secret.encode()))
        if not self.redis.hsetnx(self.key, name, kept.model_dump_json()):
            raise TokenExists(f"there is a token {name!r} already")
        return token, secret

    def list(self) -> list[Token]:
        """Oldest first."""
        return sorted(self.by_digest().values(), key=lambda token: token.created_at)

    def revoke(self, name: str) -> None:
        """
        Raises:
            TokenNotFound
        """
        if not self.redis.hdel(self.key, name):
            raise TokenNotFound(f"there is no token {name[:80]!r}")

    def by_digest(self) -> Mapping[str, Token]:
        """All of them, by the digest of their secrets."""
        kept = [_Kept.model_validate_json(text(v)) for v in self.redis.hvals(self.key)]
        return {each.digest: Token(**each.model_dump(exclude={"digest"})) for each in kept}


def digest_of(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
