"""The proxy of the storm fails as it is told to: between a client and an echo."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.chaos.storm.proxy import DELAY_S, Link, NetFault, Network
from tests.running import eventually

NOTHING_S = 0.3  # for so long nothing comes


class Echo:
    """Answers what it gets, and keeps it."""

    def __init__(self) -> None:
        self.got = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.threads.append(threading.Thread(target=self._echo, args=(connection,)))
                self.threads[-1].start()

    def _echo(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(1000):
                self.got += data
                connection.sendall(data)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    with Network() as network:
        yield network.link(echo.port)


@pytest.fixture
def client(link: Link) -> Iterator[socket.socket]:
    with connected(link) as client:
        assert asked(client, b"before") == b"before"
        yield client


def connected(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=60)


def asked(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(1000)


def begin(link: Link, fault: NetFault | None) -> None:
    """Have it fail, and wait until it does."""
    link.set_fault(fault)
    done = threading.Event()
    link._loop.call_soon_threadsafe(done.set)
    done.wait()


def test_delay(link: Link, client: socket.socket) -> None:
    begin(link, NetFault.DELAY)
    started = time.monotonic()
    assert asked(client, b"late") == b"late"
    assert time.monotonic() - started >= 2 * DELAY_S  # the request, then the answer


def test_drop(link: Link, client: socket.socket) -> None:
    begin(link, NetFault.DROP)
    with pytest.raises(ConnectionResetError), connected(link) as other:
        other.recv(1000)
    assert asked(client, b"there") == b"there"
    begin(link, None)
    with connected(link) as other:
        assert asked(other, b"new") == b"new"


def test_cut(link: Link, client: socket.socket) -> None:
    begin(link, NetFault.CUT)
    with pytest.raises(ConnectionResetError):
        client.recv(1000)
    with connected(link) as other:
        assert asked(other, b"new") == b"new"


def test_half_close(link: Link, client: socket.socket, echo: Echo) -> None:
    begin(link, NetFault.HALF_CLOSE)
    assert asked(client, b"still heard") == b""
    eventually(lambda: echo.got.endswith(b"still heard"), "the request to arrive")


def test_blackhole(link: Link, client: socket.socket, echo: Echo) -> None:
    begin(link, NetFault.BLACKHOLE)
    client.settimeout(NOTHING_S)
    with pytest.raises(TimeoutError):
        asked(client, b"held")
    assert not echo.got.endswith(b"held")
    begin(link, None)
    client.settimeout(60)
    assert client.recv(1000) == b"held"


def test_lost_reply(link: Link, client: socket.socket, echo: Echo) -> None:
    begin(link, NetFault.LOST_REPLY)
    with pytest.raises(ConnectionResetError):
        asked(client, b"done")
    assert echo.got.endswith(b"done")
    assert link.lost == 1
