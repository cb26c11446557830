"""The queue between two stages of the pipeline, bounded by items and by bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_ITEMS = 4
MAX_BYTES = 64 << 20
MIN_ITEMS = 2  # fewer would make the stages take turns, however large the frames


class Aborted(Exception):
    """The other side gave up; it keeps the error that made it."""


class Channel(Generic[T]):
    """One sender, one receiver, in order. Both may be woken by ``abort`` from any thread."""

    def __init__(self) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._aborted = False
        self._changed = Condition()

    def put(self, item: T, size: int) -> None:
        """Wait for room, then add an item of ``size`` bytes. Raises Aborted."""
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._has_room(size))
            if self._aborted:
                raise Aborted
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Receive until the channel is closed and empty. Raises Aborted."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._aborted or self._closed or self._items)
                if self._aborted:
                    raise Aborted
                if not self._items:
                    return
                item, size = self._items.popleft()
                self._bytes -= size
                self._changed.notify_all()
            yield item

    def close(self) -> None:
        """The sender has no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Drop what is inside; both sides raise Aborted from now on."""
        with self._changed:
            self._aborted = True
            self._items.clear()
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        count = len(self._items)
        return count < MIN_ITEMS or (count < MAX_ITEMS and self._bytes + size <= MAX_BYTES)
