"""Sessions of browsers that have logged in with an API token.

Key, below the queue's name: ``session:<SHA-256 of the id>``, the digest of the token that opened
it, with an expiry. A session ends with a logout, with its token, or ``SESSION_S`` after the login.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from shoal.model.record import text
from shoal.queue.tokens import digest_of

if TYPE_CHECKING:  # as shoal.queue.tokens
    from redis import Redis

SESSION_S = 7 * 24 * 3600


class SessionStore:
    """The sessions of one Shoal. Ids are kept as digests, as the secrets of tokens are."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace

    def key(self, digest: str) -> str:
        return f"{self.namespace}:session:{digest}"

    def begin(self, token_digest: str) -> str:
        """A new session's id, 256 random bits that only its browser gets."""
        session_id = secrets.token_urlsafe(32)
        self.redis.set(self.key(digest_of(session_id.encode())), token_digest, ex=SESSION_S)
        return session_id

    def find(self, digest: str) -> str | None:
        """The digest of the token that opened a session."""
        value = self.redis.get(self.key(digest))
        return text(value) if value else None

    def end(self, digest: str) -> None:
        self.redis.delete(self.key(digest))
