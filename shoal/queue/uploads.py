"""The uploads in a bucket: how much room they take, and those that are under way.

Keys, below the queue's name: ``uploads`` has the bytes and the token of each, by id while it is
under way, then by URI. ``upload:<id>`` says how far one is and ``upload:<id>:pieces`` what it
consists of; both lapse. All of it can be lost: what is in the bucket is found again by
``shoal.retention.unused``, except that an upload under way starts over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.client import Pipeline

from shoal.model.record import text
from shoal.storage.buckets import Piece

KEPT_S = 7 * 24 * 3600  # after its last byte

# Reserves bytes, unless there is no room; gives what all and what the token's others have.
_RESERVE = """
local all, mine = 0, 0
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  if found[i] ~= ARGV[1] then
    local bytes, owner = string.match(found[i + 1], '^(%d+) ?(.*)$')
    all = all + (tonumber(bytes) or 0)
    if owner == ARGV[3] then mine = mine + (tonumber(bytes) or 0) end
  end
end
local wanted = tonumber(ARGV[2])
if all + wanted <= tonumber(ARGV[4]) and mine + wanted <= tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
  return {1, all, mine}
end
return {0, all, mine}
"""


class UploadState(BaseModel):
    """How far an upload is.

    Attributes:
        length, offset: bytes in all, and those that are safely here.
        writer: the request that may continue it.
        uri, sha256: once it is complete.
        pieces: how many it has in a bucket.
        kept_s: how long after its last byte.
    """

    name: str
    length: int
    offset: int = 0
    writer: str = ""
    uri: str = ""
    sha256: str = ""
    pieces: int = 0
    kept_s: int = KEPT_S


class BucketLedger:
    """What Redis knows of uploads in a bucket."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._room = f"{namespace}:uploads"
        self._reserve = redis.register_script(_RESERVE)

    def reserve(
        self, upload: str, owner: str, size: int, limit: int, share: int
    ) -> tuple[bool, int, int]:
        """Reserve bytes for an upload in all.

        Args:
            upload: its id or URI.
            limit, share: bytes for all uploads, and for all of this owner.

        Returns:
            Whether there was room, and the bytes of all others and of the owner's others.
        """
        args: list[str | int] = [upload, size, owner, limit, share]
        done, everyone, mine = self._reserve(keys=[self._room], args=args)
        return bool(done), int(everyone), int(mine)

    def keep(self, upload_id: str, uri: str, size: int, owner: str) -> None:
        """An upload that was under way is complete. One that was there stays its owner's."""
        pipe = self._redis.pipeline()
        pipe.hsetnx(self._room, uri, f"{size} {owner}")
        pipe.hdel(self._room, upload_id)
        pipe.execute()

    def adopt(self, uri: str, size: int) -> None:
        """An upload that was found in the bucket takes room of nobody's share."""
        self._redis.hsetnx(self._room, uri, f"{size} ")

    def free(self, *uploads: str) -> None:
        """Free the room of uploads, by id or URI."""
        if uploads:
            self._redis.hdel(self._room, *uploads)

    def known(self) -> list[str]:
        """The ids and URIs that have room."""
        return [text(field) for field in self._redis.hkeys(self._room)]

    def begin(self, upload_id: str, state: UploadState) -> None:
        self._redis.set(self._key(upload_id), state.model_dump_json(), ex=state.kept_s)

    def find(self, upload_id: str) -> tuple[UploadState, float] | None:
        """How far an upload is, and the seconds until it lapses; ``None``: there is none."""
        pipe = self._redis.pipeline()
        pipe.get(self._key(upload_id))
        pipe.ttl(self._key(upload_id))
        raw, left_s = pipe.execute()
        state = _parsed(raw)
        return (state, left_s) if state else None

    def change(
        self,
        upload_id: str,
        change: Callable[[UploadState], None],
        pieces: Sequence[Piece] = (),
    ) -> UploadState | None:
        """Change a state, and add to the pieces, unless ``change`` raises.

        Returns:
            What it is now; ``None``: there is none.
        """
        key, rows = self._key(upload_id), [json.dumps(piece) for piece in pieces]

        def step(pipe: Pipeline) -> UploadState | None:
            state = _parsed(pipe.get(key))
            if state is None:
                return None
            change(state)
            state.pieces += len(pieces)
            pipe.multi()
            pipe.set(key, state.model_dump_json(), ex=state.kept_s)
            if rows:
                pipe.rpush(f"{key}:pieces", *rows)
            pipe.expire(f"{key}:pieces", state.kept_s)
            return state

        run: Any = self._redis.transaction
        result: UploadState | None = run(step, key, value_from_callable=True)
        return result

    def pieces(self, upload_id: str) -> list[Piece]:
        found: Any = self._redis.lrange(f"{self._key(upload_id)}:pieces", 0, -1)
        return [Piece(*json.loads(row)) for row in found]

    def end(self, upload_id: str) -> None:
        """Forget an upload that was under way, and free its room."""
        key = self._key(upload_id)
        pipe = self._redis.pipeline()
        pipe.delete(key, f"{key}:pieces")
        pipe.hdel(self._room, upload_id)
        pipe.execute()

    def _key(self, upload_id: str) -> str:
        return f"{self._namespace}:upload:{upload_id}"


def _parsed(raw: Any) -> UploadState | None:
    try:
        return UploadState.model_validate_json(raw or "")
    except ValidationError:  # none, or not one of ours
        return None
