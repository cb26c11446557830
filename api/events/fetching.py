"""Fetches what proves senders, for callers who have proved nothing yet.

Anyone can name a sender whose host does not answer. So fetches have threads of their own, which no
request needs for anything else; of each host one goes on at a time, and all who want the same wait
for it together, as coroutines; and a fetch that failed is not tried again for a while.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from shoal.errors import SenderCheckUnavailable

TIMEOUT_S = 5.0  # of each step of a fetch, and for how long a request waits for one
MAX_BYTES = 100_000  # Google's keys are 5 kB, a certificate of SNS is 2 kB
FAILED_S = 5.0  # SNS tries again after 20 s, Pub/Sub after 10 s at the earliest
MAX_FAILED = 100


@dataclass(frozen=True)
class Fetched:
    """An answer with status 200; or why there is none."""

    content: bytes = b""
    cache_control: str = ""
    fault: str = ""


@dataclass
class _Host:
    """What goes on with one host."""

    url: str = ""  # that is being fetched
    answer: asyncio.Future[Fetched] | None = None
    failed: dict[str, tuple[float, Fetched]] = field(default_factory=dict)  # until when, by URL


class Fetcher:
    """GETs small documents over HTTPS; follows no redirects.

    Args:
        hosts: how many there are to be fetched from. One that hangs keeps no other waiting.
        transport: instead of the network.
    """

    def __init__(self, hosts: int, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, transport=transport)
        self._threads = ThreadPoolExecutor(hosts, thread_name_prefix="sender-check")
        self._hosts: dict[str, _Host] = {}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    async def get(self, url: str) -> Fetched:
        """
        Raises:
            SenderCheckUnavailable: no answer in time, or another status than 200.
        """
        host = self._hosts.setdefault(urlsplit(url).netloc, _Host())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while host.answer and host.url != url:
                    await asyncio.wait({host.answer})
                answer = self._known_fault(host, url)
                if answer is None:
                    answer = await asyncio.shield(host.answer or self._start(host, url))
        except TimeoutError as error:
            raise SenderCheckUnavailable(f"no answer in time from {url[:256]}") from error
        if answer.fault:
            raise SenderCheckUnavailable(answer.fault)
        return answer

    @staticmethod
    def _known_fault(host: _Host, url: str) -> Fetched | None:
        """The fault of this URL a moment ago, or of its host."""
        known = [host.failed[each] for each in (url, "") if each in host.failed]
        return next((answer for until, answer in known if time.monotonic() < until), None)

    def _start(self, host: _Host, url: str) -> asyncio.Future[Fetched]:
        loop = asyncio.get_running_loop()
        host.url, host.answer = url, loop.run_in_executor(self._threads, self._fetch, host, url)
        host.answer.add_done_callback(lambda _: setattr(host, "answer", None))
        return host.answer

    def _fetch(self, host: _Host, url: str) -> Fetched:
        """In a thread; raises nothing."""
        silent = ""  # what failed: this URL, or ("") its host
        try:
            answer = self._read(url)
            if not answer.fault:
                return answer
            silent = url
        except httpx.HTTPError as error:
            answer = Fetched(fault=f"no answer from {url[:256]}: {error}")
        if len(host.failed) >= MAX_FAILED:
            host.failed.clear()
        host.failed[silent] = (time.monotonic() + FAILED_S, answer)
        return answer

    def _read(self, url: str) -> Fetched:
        deadline = time.monotonic() + TIMEOUT_S
        with self._http.stream("GET", url) as response:
            if response.status_code != 200:
                return Fetched(fault=f"{url[:256]} answers {response.status_code}")
            content = b""
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MAX_BYTES or time.monotonic() > deadline:
                    return Fetched(fault=f"{url[:256]} does not come to an end")
            return Fetched(content, response.headers.get("cache-control", ""))
