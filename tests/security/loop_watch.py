"""A served API whose event loop is watched: for how long did no other request get a turn?"""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from pydantic import SecretStr

from api.server import Server
from shoal.settings import Settings
from tests.events import ACCOUNT, AUDIENCE, TOPIC, Internet, Signer
from tests.security.nasty import Nasty
from tests.serving import served

TICK_S = 0.005
RULES = """
[[rule]]
bucket = "s3://matches"
key = "**/a/**/b/**/c/**/*.mp4"
prompts = ["car"]

[[rule]]
bucket = "s3://matches"
prompts = ["car"]
"""


class LoopWatch:
    """The longest time between two turns of a coroutine that asks for one all the time."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last = time.monotonic()

    async def run(self) -> None:
        self._last = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            at = time.monotonic()
            self.longest_s = max(self.longest_s, at - self._last - TICK_S)
            self._last = at

    def take(self) -> float:
        """The longest one since this was asked last, the one that is going on included."""
        longest = max(self.longest_s, time.monotonic() - self._last - TICK_S)
        self.longest_s = 0.0
        return longest


@contextmanager
def watched(settings: Settings, signer: Signer) -> Iterator[tuple[str, LoopWatch]]:
    """An API with everything on that takes input; its URL, and the watch over its loop."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    rules = settings.data_dir / "rules.toml"
    rules.write_text(RULES)
    on = {
        "rules": rules,
        "sweep_s": 0,
        "event_tokens": (SecretStr("event-token"),),
        "gcs_audience": AUDIENCE,
        "gcs_senders": (ACCOUNT,),
        "sns_topics": (TOPIC,),
        "callback_secret": (SecretStr("whsec_" + "QUJDRA" * 6),),
    }
    watch, startup = LoopWatch(), Server.startup

    async def watched_startup(server: Server, sockets: list[socket.socket] | None = None) -> None:
        await startup(server, sockets)
        server.watch_task = asyncio.create_task(watch.run())  # type: ignore[attr-defined]

    Server.startup = watched_startup  # type: ignore[assignment,method-assign]
    try:
        transport = Internet(signer).transport()
        with served(settings.model_copy(update=on), transport=transport) as url:
            yield url, watch
    finally:
        Server.startup = startup  # type: ignore[method-assign]


def send(url: str, nasty: Nasty) -> int:
    """The status of the answer; 0 where the server ended the connection before there was one.

    The client does no work of its own beside the server, which shares its interpreter.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    try:
        connection.request(nasty.method, nasty.path, nasty.body or None, nasty.headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
        return 0
    finally:
        connection.close()
