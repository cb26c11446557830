"""Calls of storages for requests: in threads of their own, and none waits for long.

A storage that hangs would otherwise hold all threads that requests share. Each kind of storage has
its own threads, so that one that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from shoal.errors import StorageUnavailable
from shoal.model.source_url import public_name
from shoal.storage.base import hastily

T = TypeVar("T")

DEADLINE_S = 5.0
KINDS = ("file", "gs", "s3", "az", "https")
THREADS = 16  # of each kind of storage
STREAM_S = 60.0  # for a chunk in the middle of a download


class StorageCalls:
    """Runs calls of storages; what is not done by the deadline is ``StorageUnavailable``."""

    def __init__(self) -> None:
        self._pools: dict[str, _Threads] = {}

    def close(self) -> None:
        """Have the threads end; one that hangs in a storage does so when that answers."""
        for pool in self._pools.values():
            pool.close()

    async def run(
        self,
        uri: str,
        call: Callable[..., T],
        *args: Any,
        deadline_s: float | None = None,
        hasty: bool = True,
    ) -> T:
        """
        Args:
            uri: tells which storage it is.
            deadline_s: ``DEADLINE_S``, if not given. The call goes on after it.
            hasty: whether its requests to the storage fail soon, too.

        Raises:
            StorageUnavailable: no answer in time; and what ``call`` raises.
        """
        deadline_s = DEADLINE_S if deadline_s is None else deadline_s
        future = self._submit(uri, partial(_hastily, call) if hasty else call, *args)
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise late(uri, deadline_s) from error

    def wait(self, uri: str, call: Callable[..., T], *args: Any) -> T:
        """As ``run``, where there is a thread to wait in."""
        future = self._submit(uri, partial(_hastily, call), *args)
        try:
            return future.result(DEADLINE_S)
        except TimeoutError as error:
            future.cancel()
            raise late(uri, DEADLINE_S) from error

    async def stream(self, uri: str, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Chunks as they are asked for. The first one is there when this returns: until then a
        failure can still be the response."""
        first = await self.run(uri, next, chunks, b"")
        return self._rest(uri, first, chunks)

    async def _rest(self, uri: str, chunk: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        while chunk:
            yield chunk
            chunk = await self.run(uri, next, chunks, b"", deadline_s=STREAM_S)

    def _submit(self, uri: str, call: Callable[..., T], *args: Any) -> Future[T]:
        kind = uri.partition(":")[0]
        pool = self._pools.setdefault(kind if kind in KINDS else "", _Threads())
        return pool.submit(partial(copy_context().run, call, *args))


def _hastily(call: Callable[..., T], *args: Any) -> T:
    with hastily():
        return call(*args)


def late(uri: str, seconds: float = DEADLINE_S) -> StorageUnavailable:
    return StorageUnavailable(
        f"the storage of {public_name(uri)[:256]} does not answer within {seconds:g} s",
        hint="Try again later.",
    )


class _Threads:
    """Up to ``THREADS`` threads, which the end of the process does not wait for."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0
        self._starting = threading.Lock()

    def close(self) -> None:
        for _ in range(THREADS):
            self._work.put(None)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._work.put((future, call))
        if not self._idle.acquire(blocking=False):
            self._start_one()
        return future

    def _start_one(self) -> None:
        with self._starting:
            if self._count == THREADS:
                return
            self._count += 1
        threading.Thread(target=self._serve, name="storage", daemon=True).start()

    def _serve(self) -> None:
        while work := self._work.get():
            future, call = work
            if future.set_running_or_notify_cancel():  # else nobody waits any more
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del work, future, call
            self._idle.release()
