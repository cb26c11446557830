"""A TCP proxy between one process and one server, that fails as networks do.

All links of a storm share a thread with an event loop. A ``Link`` listens on a free port of
loopback; ``set_fault`` and ``cut`` may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from enum import StrEnum

CHUNK = 64 << 10
DELAY_S = 0.4  # of every chunk, while a link is slow
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, and drop what is not sent


class NetFault(StrEnum):
    DELAY = "delay"  # every chunk is late
    DROP = "drop"  # new connections are closed at once; those there are go on
    CUT = "cut"  # all connections are reset, once
    HALF_CLOSE = "half-close"  # the server seems to have closed its side; requests still arrive
    BLACKHOLE = "blackhole"  # nothing passes; what was sent arrives when the link is healed
    LOST_REPLY = "lost reply"  # requests pass, answers are lost, with their connections


class Link:
    """One port that leads to one server.

    Attributes:
        port: where it listens.
        lost: answers that were lost so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        self._loop = loop
        self._target = (host, port)
        self._fault: NetFault | None = None
        self._passes = asyncio.Event()
        self._passes.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._half_closed: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.lost = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._reset_all()
        self._passes.set()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- from any thread -------------------------------------------------------------------------

    def set_fault(self, fault: NetFault | None) -> None:
        """Have the link fail from now on; ``None`` heals it."""
        self._loop.call_soon_threadsafe(self._set, fault)

    def _set(self, fault: NetFault | None) -> None:
        self._fault = fault
        (self._passes.clear if fault is NetFault.BLACKHOLE else self._passes.set)()
        if fault is NetFault.CUT:
            self._reset_all()
            self._fault = None
        elif fault is NetFault.HALF_CLOSE:
            for writer in tuple(self._clients):
                with suppress(OSError):
                    writer.write_eof()
                self._half_closed.add(writer)

    def _reset_all(self) -> None:
        for writer in tuple(self._open):
            reset(writer)

    # --- in the loop -----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(client)
        self._clients.add(client)
        server: asyncio.StreamWriter | None = None
        try:
            if self._fault is NetFault.DROP:
                return
            await self._passes.wait()
            answers, server = await asyncio.open_connection(*self._target)
            self._open.add(server)
            await asyncio.gather(
                self._pump(reader, server), self._pump(answers, client, are_answers=True)
            )
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or the link is
        finally:
            for writer in filter(None, (client, server)):
                self._open.discard(writer)
                reset(writer)
            self._clients.discard(client)
            self._half_closed.discard(client)
            self._tasks.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        are_answers: bool = False,
    ) -> None:
        """
        Raises:
            OSError: a side is gone, or an answer was lost.
        """
        while data := await reader.read(CHUNK):
            if self._fault is NetFault.DELAY:
                await asyncio.sleep(DELAY_S)
            await self._passes.wait()
            if are_answers and self._fault is NetFault.LOST_REPLY:
                self.lost += 1
                raise ConnectionResetError
            if writer in self._half_closed:
                continue  # it was told that nothing comes any more
            writer.write(data)
            await writer.drain()
        await self._passes.wait()
        if writer not in self._half_closed:
            writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as a host does that is gone."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    with suppress(OSError, ValueError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class Network:
    """The links of a storm, in a thread of their own. Use it as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="storm network")
        self.links: list[Link] = []

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def link(self, port: int, *, at: int = 0) -> Link:
        """A link to a server on loopback, ``at`` a port or at any."""
        link = self._run(lambda: self._start(port, at))
        self.links.append(link)
        return link

    async def _start(self, port: int, at: int) -> Link:
        link = Link(self._loop, "127.0.0.1", port)
        await link.start(at)
        return link

    def _run(self, make: Callable[[], object]) -> Link:
        future: Future[Link] = asyncio.run_coroutine_threadsafe(make(), self._loop)  # type: ignore[arg-type]
        return future.result(30)

    def heal(self) -> None:
        for link in self.links:
            link.set_fault(None)

    def __exit__(self, *_: object) -> None:
        for link in self.links:
            asyncio.run_coroutine_threadsafe(link.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
