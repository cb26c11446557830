"""One render of a live page for all who look at it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.dashboard.live import until_tick
from api.dashboard.shared import SharedRenders
from shoal.errors import JobNotFound


class Page:
    """Counts its renders."""

    def __init__(self) -> None:
        self.renders = 0

    def build(self) -> dict[str, str]:
        self.renders += 1
        return {"rows": f"<b>{self.renders}</b>"}


def test_a_hundred_viewers_share_a_render() -> None:
    page, other = Page(), Page()

    async def look() -> None:
        shared = SharedRenders()
        viewers = [shared.get("a", page.build, 60) for _ in range(100)]
        found = await asyncio.gather(*viewers, shared.get("b", other.build, 60))
        assert found[:100] == [{"rows": '"<b>1</b>"'}] * 100
        assert await shared.get("a", page.build, 60) == found[0]
        assert (await shared.get("a", page.build, 0))["rows"] == '"<b>2</b>"'  # it is old now

    asyncio.run(look())
    assert (page.renders, other.renders) == (2, 1)


def test_who_leaves_does_not_take_the_render_along() -> None:
    go = threading.Event()

    def build() -> dict[str, str]:
        go.wait(10)
        return {"rows": "x"}

    async def look() -> None:
        shared = SharedRenders()
        leaving = asyncio.create_task(shared.get("a", build, 1))
        staying = asyncio.create_task(shared.get("a", build, 1))
        await asyncio.sleep(0.05)
        leaving.cancel()
        go.set()
        assert await staying == {"rows": '"x"'}

    asyncio.run(look())


def test_an_error_is_told_to_all_and_not_kept() -> None:
    story: list[Exception | None] = [JobNotFound("gone"), None]

    def build() -> dict[str, str]:
        if error := story.pop(0):
            raise error
        return {}

    async def look() -> None:
        shared = SharedRenders()
        found = await asyncio.gather(
            *(shared.get("a", build, 0) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(each, JobNotFound) for each in found)
        assert await shared.get("a", build, 0) == {}

    asyncio.run(look())


def test_viewers_of_a_page_look_at_one_time() -> None:
    """Whenever they came."""

    async def look() -> list[float]:
        loop, found = asyncio.get_running_loop(), []
        for _ in range(5):
            await asyncio.sleep(0.013)
            found.append((loop.time() + until_tick(2.0)) / 2.0)
        return found

    for tick in asyncio.run(look()):
        assert tick == pytest.approx(round(tick), abs=0.01)
