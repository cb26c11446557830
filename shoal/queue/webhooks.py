"""Callbacks: who is told of a job's end, and how that went.

A delivery is put down in the very transaction that ends the job, so none is lost; it is carried
out by the API (``api.background.webhook_sender``), never by a worker.

Keys, below the queue's name: ``callback:<id>`` a delivery as JSON, ``callbacks``,
``callbacks:<state>`` and ``callbacks:job:<job id>`` sorted sets of ids by time, ``callbacks:due``
by when they are tried next (by the Redis clock), ``callbacks:gone`` the URLs that answered 410.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shoal.errors import CallbackNotFound, RequestError, UnreadableRecord
from shoal.model.delivery import Delivery, DeliveryState, Try
from shoal.model.ids import is_delivery_id
from shoal.model.record import Record, now, text
from shoal.queue.unreadable import parsed, readable

if TYPE_CHECKING:  # the client reads these models and needs no Redis
    from redis import Redis
    from redis.client import Pipeline

MAX_BODY_BYTES = 20_000
MAX_TEXT_CHARS = 500  # of an error's message and hint
TRIES_KEPT = 20
KEPT_S = 30 * 24 * 3600  # a delivery that is over
FORGOTTEN_AT_ONCE = 200
CLAIM_S = 60.0  # a try takes less; after it, the delivery of an API that died is tried again

# Seconds from one try to the next, after the example in the Standard Webhooks specification: the
# last try is three days and three hours after the first.
SCHEDULE_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)

# What a message that would be too long does without, in this order.
_LEFT_OUT: tuple[tuple[str, ...], ...] = (
    (),
    ("summary",),
    ("summary", "results"),
    ("summary", "results", "prompts", "uri", "version", "results_uri"),
)

# Moves what is due to a later time; in one step, so that one of several APIs gets it.
_POSTPONE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or tonumber(due) > now then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return 1
"""


class Outbox:
    """Puts deliveries down inside a caller's transaction, and hands them to the API's thread."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.namespace = namespace
        self.due_key = f"{namespace}:callbacks:due"
        self.gone_key = f"{namespace}:callbacks:gone"

    def key(self, delivery_id: str) -> str:
        return f"{self.namespace}:callback:{delivery_id}"

    def index_key(self, state: DeliveryState | None = None, job: str = "") -> str:
        """``job`` goes before ``state``."""
        part = f":job:{job}" if job else f":{state}" if state else ""
        return f"{self.namespace}:callbacks{part}"

    # --- inside a transaction --------------------------------------------------------------------

    def enqueue(self, pipe: Pipeline, record: Record, urls: Sequence[str]) -> None:
        """A delivery for each URL, of a job as it is now, in a final state."""
        for url in urls:
            delivery = Delivery(
                id=f"msg_{uuid.uuid4().hex}",
                job=record.id,
                url=url,
                type=f"video.{record.state}",
                created_at=now(),
                body=message(record),
            )
            pipe.set(self.key(delivery.id), delivery.model_dump_json())
            pipe.zadd(self.due_key, {delivery.id: 0})
            for state in (None, DeliveryState.PENDING):
                pipe.zadd(self.index_key(state), {delivery.id: delivery.created_at})
            pipe.zadd(self.index_key(job=record.id), {delivery.id: delivery.created_at})

    # --- what users do ---------------------------------------------------------------------------

    def get(self, delivery_id: str) -> Delivery:
        """
        Raises:
            CallbackNotFound: no such delivery, or it was over 30 days ago.
        """
        value = self.redis.get(self.key(delivery_id)) if is_delivery_id(delivery_id) else None
        if value is None:
            raise CallbackNotFound(f"no callback has the id {delivery_id[:80]!r}")
        return _delivery(delivery_id, value)

    def page(
        self, *, state: DeliveryState | None, job: str, limit: int, cursor: str
    ) -> tuple[list[Delivery], str]:
        """Newest first, and the cursor of the next page ("" at the end)."""
        try:
            start = int(cursor or "0")
        except ValueError as error:
            raise RequestError(f"not a cursor: {cursor[:80]}") from error
        key = self.index_key(state, job)
        ids: Any = self.redis.zrange(key, start, start + limit - 1, desc=True)
        values: Any = self.redis.mget([self.key(text(i)) for i in ids]) if ids else []
        there = ((text(i), value) for i, value in zip(ids, values, strict=True) if value)
        found = [each for _, each in readable("callback", there, _parse)]
        items = [delivery for delivery in found if state in (None, delivery.state)]
        return items, str(start + limit) if len(ids) == limit else ""

    def replay(self, delivery_id: str) -> Delivery:
        """Send it again, from the first try on, also to a receiver that was disabled."""

        def change(pipe: Pipeline, delivery: Delivery) -> Delivery:
            pipe.srem(self.gone_key, delivery.url)
            again = delivery.model_copy(update={"attempts": 0})
            return self._write(pipe, again, DeliveryState.PENDING, due=0.0)

        return self._change(delivery_id, change)

    def forget_old(self, redis_now: float) -> None:
        """Take those out of the lists that have lapsed, the oldest first, some at a time."""
        for state in (None, *DeliveryState):
            key = self.index_key(state)
            old: Any = self.redis.zrangebyscore(
                key, 0, redis_now - 2 * KEPT_S, start=0, num=FORGOTTEN_AT_ONCE
            )
            there: Any = self.redis.mget([self.key(text(i)) for i in old]) if old else []
            if gone := [i for i, value in zip(old, there, strict=True) if value is None]:
                self.redis.zrem(key, *gone)

    # --- what the webhook sender does -------------------------------------------------------------

    def due(self, limit: int) -> list[Delivery]:
        """What is to be tried now, longest due first. Not claimed yet."""
        ids: Any = self.redis.zrange(
            self.due_key, 0, self._clock(), byscore=True, offset=0, num=limit
        )
        found = []
        for delivery_id in map(text, ids):
            try:
                found.append(self.get(delivery_id))
            except (CallbackNotFound, UnreadableRecord):
                self.redis.zrem(self.due_key, delivery_id)
        return found

    def claim(self, delivery: Delivery) -> bool:
        """Take it for one try: no other API has it then, for ``CLAIM_S`` seconds."""
        return self._postpone(delivery, CLAIM_S)

    def postpone(self, delivery: Delivery, seconds: float) -> None:
        """Leave it for later; that counts as no try."""
        self._postpone(delivery, seconds)

    def is_gone(self, url: str) -> bool:
        return bool(self.redis.sismember(self.gone_key, url))

    def delivered(self, delivery: Delivery, attempt: Try) -> Delivery:
        return self._settle(delivery, attempt, DeliveryState.DELIVERED)

    def failed(
        self, delivery: Delivery, attempt: Try, *, final: bool = False, wait_s: float = 0.0
    ) -> Delivery:
        """Try again by the schedule, or after ``wait_s`` seconds if that is later."""
        if final or delivery.attempts >= len(SCHEDULE_S):
            return self._settle(delivery, attempt, DeliveryState.FAILED)
        wait = max(SCHEDULE_S[delivery.attempts], wait_s)
        return self._settle(delivery, attempt, DeliveryState.PENDING, due=self._clock() + wait)

    def disabled(self, delivery: Delivery, attempt: Try | None) -> Delivery:
        """The receiver wants no more; ``attempt`` is the one that told so."""
        self.redis.sadd(self.gone_key, delivery.url)
        return self._settle(delivery, attempt, DeliveryState.DISABLED)

    def _settle(
        self,
        delivery: Delivery,
        attempt: Try | None,
        state: DeliveryState,
        due: float | None = None,
    ) -> Delivery:
        def change(pipe: Pipeline, current: Delivery) -> Delivery:
            if attempt in current.tries:  # written already: the answer was lost
                return current
            tries = [*current.tries, *([attempt] if attempt else [])][-TRIES_KEPT:]
            number = current.attempts + (attempt is not None)
            tried = current.model_copy(update={"tries": tries, "attempts": number})
            return self._write(pipe, tried, state, due)

        return self._change(delivery.id, change)

    def _write(
        self, pipe: Pipeline, delivery: Delivery, state: DeliveryState, due: float | None
    ) -> Delivery:
        next_at = None if due is None else max(due, now())
        written = delivery.model_copy(update={"state": state, "next_at": next_at})
        pipe.set(
            self.key(delivery.id), written.model_dump_json(), ex=None if due is not None else KEPT_S
        )
        if due is None:
            pipe.zrem(self.due_key, delivery.id)
            pipe.expire(self.index_key(job=delivery.job), KEPT_S)
        else:
            pipe.zadd(self.due_key, {delivery.id: due})
        pipe.zrem(self.index_key(delivery.state), delivery.id)
        pipe.zadd(self.index_key(state), {delivery.id: delivery.created_at})
        return written

    def _change(self, delivery_id: str, write: Any) -> Delivery:
        def change(pipe: Pipeline) -> Delivery:
            value = pipe.get(self.key(delivery_id)) if is_delivery_id(delivery_id) else None
            if value is None:
                raise CallbackNotFound(f"no callback has the id {delivery_id[:80]!r}")
            current = _delivery(delivery_id, value)
            pipe.multi()
            written: Delivery = write(pipe, current)
            return written

        transaction: Any = self.redis.transaction  # typed for functions that give nothing back
        changed: Delivery = transaction(change, self.key(delivery_id), value_from_callable=True)
        return changed

    def _postpone(self, delivery: Delivery, seconds: float) -> bool:
        """Whether it was due, and is not any more."""
        return bool(self.redis.eval(_POSTPONE, 1, self.due_key, delivery.id, str(seconds)))

    def _clock(self) -> float:
        seconds, micros = self.redis.time()
        return float(seconds + micros / 1e6)


def _delivery(delivery_id: str, value: bytes | str) -> Delivery:
    """
    Raises:
        UnreadableRecord
    """
    return parsed("callback", delivery_id, _parse, value)


def _parse(value: bytes) -> Delivery:
    """
    Raises:
        ValueError
    """
    return Delivery.model_validate_json(value)


def message(record: Record) -> str:
    """What a receiver is told of a job that has ended: JSON, at most ``MAX_BODY_BYTES``."""
    spec, error = record.spec, record.error
    cause = error and {
        "code": error.code,
        "message": error.message[:MAX_TEXT_CHARS],
        "hint": error.hint[:MAX_TEXT_CHARS],
    }
    data: dict[str, Any] = {
        "id": record.id,
        "state": record.state,
        "attempt": record.attempt,
        "finished_at": record.finished_at,
        "error": cause,
        "uri": spec.uri,
        "version": spec.version,
        "prompts": spec.prompts,
        "results_uri": spec.results_prefix,
        "results": record.results,
        "summary": record.summary,
    }
    at = datetime.fromtimestamp(record.finished_at or now(), UTC).isoformat()
    for left_out in _LEFT_OUT:
        kept = {name: value for name, value in data.items() if name not in left_out}
        if left_out:
            kept["truncated"] = True  # all of it is behind GET /videos/{id}
        document = {"type": f"video.{record.state}", "timestamp": at, "data": kept}
        body = json.dumps(document, separators=(",", ":"))
        if len(body) <= MAX_BODY_BYTES:
            break
    return body
