"""Runs the API: checks the address, waits for Redis, serves until it is stopped."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import httpx
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.middleware.auth import is_loopback
from shoal.errors import PortBusy, StackError, UnsafeBind
from shoal.queue.connection import connect
from shoal.settings import Settings

REDIS_WAIT_S = 60.0
GC_EVERY = 10_000  # objects: requests make many that are in no circle, and go by themselves
STOP_WAIT_S = 3  # for open connections, from the signal on
END_S = 10.0  # from the signal to the end of the process, whatever hangs

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; both end it within ``END_S``, whatever hangs.

    Raises:
        UnsafeBind: it would be reachable from other machines without a token.
        PortBusy, StackError: the address cannot be bound.
        RedisUnavailable: Redis did not answer for a minute.
    """
    with listen(settings) as listener:
        log.info("waiting for Redis")
        connect(settings, attempts_s=REDIS_WAIT_S).close()
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("serving on http://%s:%d", shown, port)
        with _quiet_end():
            make_server(settings).run(sockets=[listener])


class Server(uvicorn.Server):
    """Ends the streams of live pages when it stops; they would last until it cuts them off.

    After a signal it ends the process in any case: a thread in a call of a Redis or a storage that
    hangs would otherwise be waited for.
    """

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Raises:
            RedisUnavailable: Redis did not answer; Uvicorn itself would exit with a number.
        """
        try:
            await super().startup(sockets)
        except SystemExit:
            if self.lifespan.should_exit and self._app.state.fault:
                raise self._app.state.fault from None
            raise
        gc.set_threshold(GC_EVERY)
        gc.freeze()  # what is there now stays: the collector need not look at it again and again

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            signal.signal(signal.SIGALRM, _give_up)
            signal.setitimer(signal.ITIMER_REAL, END_S)
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # all threads have ended
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.closing.set()
        await super().shutdown(sockets)


def make_server(settings: Settings, transport: httpx.BaseTransport | None = None) -> uvicorn.Server:
    """The HTTP server, not yet started; ``transport`` is that of ``create_app``."""
    app = create_app(settings, transport)
    return Server(
        app,
        uvicorn.Config(
            app,
            timeout_graceful_shutdown=STOP_WAIT_S,
            log_config=None,  # the process's own logging
            access_log=False,
            # Whose X-Forwarded-Proto tells that the browser came by TLS.
            forwarded_allow_ips=list(settings.trusted_proxies),
        ),
    )


def listen(settings: Settings) -> socket.socket:
    """A socket bound to the configured address.

    Raises:
        UnsafeBind, PortBusy, StackError
    """
    host, port = settings.api_host, settings.api_port
    if not settings.api_tokens and not is_loopback(host):
        raise UnsafeBind(f"{host} can be reached from other machines, and there is no API token")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Explicitly TCP, because otherwise asyncio leaves Nagle's algorithm on: 40 ms per response.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise StackError(
            f"invalid address: {host}", hint="Use an IP address for --host."
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # two sockets may bind to a port, one of them listens
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(f"port {port} on {host} is in use") from error
        raise StackError(
            f"cannot bind to {host}:{port}: {error.strerror}",
            hint="Choose another --host or --port.",
        ) from error
    return listener


def _give_up(signum: int, frame: FrameType | None) -> None:
    """Nothing is lost: what was accepted is in Redis, as when the process is killed."""
    names = sorted(thread.name for thread in threading.enumerate())
    log.error("not stopped within %.0f s, so it ends now; threads: %s", END_S, ", ".join(names))
    os._exit(128 + signal.SIGTERM)


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """Uvicorn raises the signal that stopped it once more: here it was an order well obeyed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: None)
    with contextlib.suppress(KeyboardInterrupt):
        yield
