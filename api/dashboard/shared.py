"""One render of a page's regions for all who look at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from shoal.queue.connection import redis_errors

Regions = dict[str, str]  # id of the element -> its new content, as HTML

THREADS = 2  # of their own: live pages neither wait for requests nor keep them waiting
FRESH = 0.25  # of the time between two looks: what is this old is shown to others, too
MOST = 1000  # pages that are remembered


@dataclass(frozen=True)
class _Render:
    at: float
    task: asyncio.Task[Regions]


class SharedRenders:
    """Renders each page once for all its viewers, in threads of its own.

    Viewers compare and send; a region comes to them as JSON, which is made once, too.
    """

    def __init__(self) -> None:
        self._renders: dict[Hashable, _Render] = {}
        self._threads = CapacityLimiter(THREADS)

    async def get(self, page: Hashable, build: Callable[[], Regions], every_s: float) -> Regions:
        """The regions of a page as they were at most ``FRESH * every_s`` seconds ago, as JSON.

        Args:
            page: what tells it from others: its route and all that it is built from.

        Raises:
            RedisUnavailable
            ShoalError: what ``build`` raises.
        """
        at = asyncio.get_running_loop().time()
        found = self._renders.get(page)
        if found is None or (found.task.done() and at - found.at > FRESH * every_s):
            if len(self._renders) >= MOST:
                self._renders = {k: r for k, r in self._renders.items() if not r.task.done()}
            found = _Render(at, asyncio.create_task(self._render(build)))
            self._renders[page] = found
        return await asyncio.shield(found.task)  # who leaves does not take it from the others

    async def _render(self, build: Callable[[], Regions]) -> Regions:
        return await to_thread.run_sync(_built, build, limiter=self._threads)


def _built(build: Callable[[], Regions]) -> Regions:
    with redis_errors():
        return {name: json.dumps(html) for name, html in build().items()}
