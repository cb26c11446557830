"""A connection to Redis that loses the reply to a command which the server has carried out."""

from __future__ import annotations

import threading
from typing import Any

import redis
from redis import Redis
from redis.connection import Connection, ConnectionPool

from shoal.queue.connection import SOCKET, no_retry


class Losses:
    """Counts replies, and loses one.

    Attributes:
        lose: number of the reply that is lost, from 0; ``None``: none is.
        error: what is raised in its place.
        replies: how many there were since ``arm``.
    """

    def __init__(self) -> None:
        self.lose: int | None = None
        self.error: Exception = redis.ConnectionError("Connection closed by server.")
        self.replies = 0
        self.armed = False
        self._counting = threading.Lock()  # threads share it: one reply is lost, and not two

    def arm(self, lose: int | None) -> None:
        self.lose, self.replies, self.armed = lose, 0, True

    def disarm(self) -> None:
        self.armed = False

    def next_is_lost(self) -> bool:
        with self._counting:
            if not self.armed:
                return False
            self.replies += 1
            return self.replies - 1 == self.lose


def lossy(url: str, losses: Losses) -> Redis:
    """As Shoal connects, but for the losses."""

    class Lossy(Connection):
        greeting = False

        def on_connect(self) -> None:
            self.greeting = True
            super().on_connect()  # type: ignore[no-untyped-call]
            self.greeting = False

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            error: Exception | None = None
            answer: Any = None
            try:
                answer = super().read_response(*args, **kwargs)
            except redis.ResponseError as found:
                error = found
            # What a server refuses within a transaction, its last reply refuses.
            is_cut = isinstance(losses.error, redis.ConnectionError)
            queued = answer in (b"OK", b"QUEUED") and not is_cut
            if not self.greeting and not queued and losses.next_is_lost():
                if is_cut:
                    self.disconnect()  # type: ignore[no-untyped-call]
                raise losses.error
            if error:
                raise error
            return answer

    pool = ConnectionPool.from_url(url, connection_class=Lossy, retry=no_retry(), **SOCKET)
    return Redis(connection_pool=pool)
