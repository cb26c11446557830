"""Previews in Redis: those that wait for a worker, and what was found so far.

Each is a hash that Redis drops after an hour; nothing of it is kept elsewhere. Requests wait in
one list. A worker looks through its head for one that its engine can answer, and has it if it is
the one that removes it from the list.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from redis import Redis

from shoal import engines
from shoal.errors import PreviewExpired, PreviewNotFound, RateLimited, UnreadableRecord
from shoal.model.failure import Failure
from shoal.model.ids import is_job_id
from shoal.model.job import Options
from shoal.model.preview import (
    MAX_STILLS,
    Preview,
    PreviewFrame,
    PreviewSpec,
    PreviewState,
    PreviewVideo,
)
from shoal.model.source_url import public_name
from shoal.queue.connection import redis_time

KEPT_S = 3600
WAIT_S = 60.0  # a preview that no worker took by then is dropped
ANSWER_S = 90.0  # from taking it to the last frame: longer is only a worker that is gone
MAX_WAITING = 100
LOOKED_AT = 20  # of the list, each time


class Previews:
    """Ask for previews (the API), answer them (a worker's parent process)."""

    def __init__(
        self, connection: Redis, name: str, clock: Callable[[], float] | None = None
    ) -> None:
        """
        Args:
            name: of the queue.
            clock: seconds since the epoch; by default the server's.
        """
        self._redis = connection
        self._name = name
        self._clock = clock or (lambda: redis_time(connection))

    @property
    def _waiting(self) -> str:
        return f"{self._name}:previews"

    def _key(self, preview_id: str) -> str:
        return f"{self._name}:preview:{preview_id}"

    # --- the API's side --------------------------------------------------------------------------

    def ask(self, spec: PreviewSpec) -> Preview:
        """Have a preview made. ``spec.id`` is a new one: see ``new_id``.

        Raises:
            RateLimited: too many are waiting.
        """
        if self._redis.llen(self._waiting) >= MAX_WAITING:
            raise RateLimited(f"{MAX_WAITING} previews are waiting", retry_after_s=5)
        fields: dict[Any, Any] = {
            "spec": spec.model_dump_json(),
            "state": PreviewState.WAITING.value,
            "since": self._clock(),
        }
        pipe = self._redis.pipeline()
        pipe.hset(self._key(spec.id), mapping=fields)
        pipe.expire(self._key(spec.id), KEPT_S)
        pipe.rpush(self._waiting, spec.id)
        pipe.expire(self._waiting, KEPT_S)
        pipe.execute()
        return self.get(spec.id)

    def get(self, preview_id: str) -> Preview:
        """A preview, with the frames that are there so far.

        Raises:
            PreviewNotFound: there is none, or it is older than an hour.
            UnreadableRecord: another program wrote it.
        """
        found = self._fields(preview_id)
        try:
            spec = PreviewSpec.model_validate_json(found[b"spec"])
            state = PreviewState(found[b"state"].decode())
            numbers = range(MAX_STILLS)
            frames = [
                PreviewFrame.model_validate_json(found[name])
                for name in (f"frame:{n}".encode() for n in numbers)
                if name in found
            ]
            error = Failure.model_validate_json(found[b"error"]) if b"error" in found else None
            preview = Preview(
                id=preview_id,
                state=state,
                uri=public_name(spec.uri),
                engine=found.get(b"engine", b"").decode(),
                video=PreviewVideo.model_validate_json(found[b"video"])
                if b"video" in found
                else None,
                frames=[
                    frame.model_copy(update={"picture": f"/previews/{preview_id}/pictures/{n}"})
                    for n, frame in enumerate(frames)
                ],
                error=error,
            )
            since = float(found[b"since"])
        except (ValueError, KeyError) as fault:
            raise UnreadableRecord(f"preview {preview_id} cannot be read") from fault
        late = self._lateness(state, since)
        if late:
            return preview.model_copy(
                update={"state": PreviewState.FAILED, "error": Failure.of(PreviewExpired(late))}
            )
        return preview

    def picture(self, preview_id: str, number: int) -> bytes:
        """The JPEG of a frame.

        Raises:
            PreviewNotFound: there is no such preview, or not this frame of it.
        """
        data: Any = None
        if is_job_id(preview_id) and 0 <= number < MAX_STILLS:
            data = self._redis.hget(self._key(preview_id), f"picture:{number}")
        if data is None:
            raise PreviewNotFound(f"there is no picture {number} of a preview {preview_id[:40]!r}")
        return bytes(data)

    def _fields(self, preview_id: str) -> dict[bytes, bytes]:
        names = ["spec", "state", "since", "engine", "video", "error"]
        names += [f"frame:{n}" for n in range(MAX_STILLS)]
        values: list[Any] = [None]
        if is_job_id(preview_id):
            values = list(self._redis.hmget(self._key(preview_id), names))
        if values[0] is None:
            raise PreviewNotFound(f"there is no preview {preview_id[:40]!r}")
        return {
            name.encode(): value
            for name, value in zip(names, values, strict=True)
            if value is not None
        }

    def _lateness(self, state: PreviewState, since: float) -> str:
        """Why a preview will not be answered any more; empty if it will."""
        age_s = self._clock() - since
        if state is PreviewState.WAITING and age_s > WAIT_S:
            return f"no worker took the preview within {WAIT_S:.0f} s"
        if state is PreviewState.RUNNING and age_s > ANSWER_S:
            return f"the worker did not answer within {ANSWER_S:.0f} s"
        return ""

    # --- the worker's side -----------------------------------------------------------------------

    def take(self, engine: str) -> PreviewSpec | None:
        """The next preview that this engine can answer; expired ones are dropped on the way."""
        heads: list[Any] = self._redis.lrange(self._waiting, 0, LOOKED_AT - 1)
        for raw in heads:
            preview_id = raw.decode(errors="replace")
            spec = self._readable(preview_id)
            if spec and not fits(spec, engine):
                continue
            if self._redis.lrem(self._waiting, 1, raw) and spec:
                self._update(
                    preview_id,
                    state=PreviewState.RUNNING.value,
                    since=str(self._clock()),
                    engine=engine,
                )
                return spec
        return None

    def give_back(self, spec: PreviewSpec) -> None:
        """Let another worker answer a preview."""
        self._update(spec.id, state=PreviewState.WAITING.value, since=str(self._clock()))
        self._redis.lpush(self._waiting, spec.id)

    def add_frame(
        self,
        preview_id: str,
        number: int,
        frame: PreviewFrame,
        picture: bytes,
        video: PreviewVideo,
    ) -> None:
        fields: dict[str, str | bytes] = {
            f"frame:{number}": frame.model_dump_json(),
            f"picture:{number}": picture,
            "video": video.model_dump_json(),
        }
        self._update(preview_id, **fields)

    def finish(self, preview_id: str, error: Failure | None) -> None:
        if error is None:
            self._update(preview_id, state=PreviewState.DONE.value)
            return
        told = error.model_copy(update={"traceback": ""})
        self._update(preview_id, state=PreviewState.FAILED.value, error=told.model_dump_json())

    def _readable(self, preview_id: str) -> PreviewSpec | None:
        """What is asked for, if it is still wanted."""
        if not is_job_id(preview_id):
            return None
        spec, since = self._redis.hmget(self._key(preview_id), ["spec", "since"])
        try:
            if spec is None or since is None:
                return None
            if self._lateness(PreviewState.WAITING, float(since)):
                return None
            return PreviewSpec.model_validate_json(spec)
        except ValueError:
            return None

    def _update(self, preview_id: str, **fields: str | bytes) -> None:
        """Write fields of a preview that there is still: never a hash without an end."""
        key = self._key(preview_id)
        mapping: dict[Any, Any] = {**fields}
        pipe = self._redis.pipeline()
        pipe.hset(key, mapping=mapping)
        pipe.expire(key, KEPT_S)
        pipe.execute()


def new_id() -> str:
    return secrets.token_hex(12)


def fits(spec: PreviewSpec, engine: str) -> bool:
    """Whether a worker with this engine can answer; one of the operator's own finds out itself."""
    if spec.engine not in (engines.AUTO, engine):
        return False
    options = Options(score_threshold=spec.score_threshold)
    used = engines.features(options, spec.objects, (), spec.exemplars)
    return engines.supports(engine, spec.prompts, used | {engines.Feature.PREVIEW})
