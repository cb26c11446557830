"""A load of HTTP requests: many at a time, over connections that are kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

from benchmarks.http_load import Connection, encoded

CONNECTIONS = 16


@dataclass(frozen=True)
class Post:
    """One request."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        return encoded("POST", self.path, self.body, *self.headers)


@dataclass(frozen=True)
class Outcome:
    """How a load went: seconds of the whole, and of each request."""

    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


def send(ports: Sequence[int], posts: Sequence[Post]) -> Outcome:
    """Send all of ``posts``, spread over the servers.

    Raises:
        RuntimeError: an answer other than 200 or 202.
    """
    return asyncio.run(_send(ports, [post.encoded() for post in posts]))


async def _send(ports: Sequence[int], requests: Sequence[bytes]) -> Outcome:
    latencies: list[float] = []
    todo = iter(requests)
    begin = time.perf_counter()
    connections = (
        _connection(ports[number % len(ports)], todo, latencies) for number in range(CONNECTIONS)
    )
    await asyncio.gather(*connections)
    return Outcome(time.perf_counter() - begin, latencies)


async def _connection(port: int, todo: Iterator[bytes], latencies: list[float]) -> None:
    connection = await Connection.open(port)
    for request in todo:
        begin = time.perf_counter()
        answer = await connection.send(request)
        latencies.append(time.perf_counter() - begin)
        if answer.status not in (200, 202):
            raise RuntimeError(f"{answer.status}: {answer.body[:300]!r}")
    connection.close()
