"""Combines concurrent requests into batches: the higher the load, the lower the cost of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")

AT_ONCE = 100  # of a lot: whatever does it has a moment for others in between


class Batcher(Generic[A, B]):
    """Handles what coroutines hand in: the first by itself, then at once all that has come.

    Nothing waits for company. One lot is handled at a time, in order.

    Args:
        handle: gives a result for each thing of a lot; what it raises goes to all who wait for
            one of them.
    """

    def __init__(self, handle: Callable[[Sequence[A]], Awaitable[Sequence[B]]]) -> None:
        self._handle = handle
        self._waiting: deque[tuple[A, asyncio.Future[B]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, thing: A) -> asyncio.Future[B]:
        """Hand in something; its result is awaited."""
        result: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        self._waiting.append((thing, result))
        if self._task is None:
            self._task = asyncio.create_task(self._handle_all())
        return result

    async def _handle_all(self) -> None:
        try:
            while self._waiting:
                count = min(AT_ONCE, len(self._waiting))
                await self._handle_lot([self._waiting.popleft() for _ in range(count)])
        finally:
            self._task = None

    async def _handle_lot(self, lot: Sequence[tuple[A, asyncio.Future[B]]]) -> None:
        results = [result for _, result in lot]
        try:
            found = await self._handle([thing for thing, _ in lot])
        except Exception as error:  # raised again where they wait
            for result in results:
                if not result.done():
                    result.set_exception(error)
            return
        for result, each in zip(results, found, strict=True):
            if not result.done():  # who asked may have gone
                result.set_result(each)
