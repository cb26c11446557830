"""What comes in meanwhile is done together, and each gets its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.batcher import AT_ONCE, Batcher


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """In a thread: the tests' own may have a browser's event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(scenario())).result()  # type: ignore[arg-type]


class Doubling:
    """Doubles numbers, as soon as it may; a lot with a zero in it fails."""

    def __init__(self) -> None:
        self.lots: list[list[int]] = []
        self.may = asyncio.Event()

    async def __call__(self, lot: Sequence[int]) -> list[int]:
        self.lots.append(list(lot))
        await self.may.wait()
        if 0 in lot:
            raise ValueError("zero")
        return [2 * each for each in lot]


def test_the_first_goes_at_once_and_the_rest_together() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        together = Batcher(doubling)
        first = together.put(1)
        await asyncio.sleep(0)
        rest = [together.put(number) for number in range(2, 5)]
        await asyncio.sleep(0)
        assert doubling.lots == [[1]]  # nothing waited for company
        doubling.may.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
        assert doubling.lots == [[1], [2, 3, 4]]
        assert await together.put(5) == 10  # and again, after a rest

    run(scenario)


def test_no_lot_is_larger_than_it_may_be() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        doubling.may.set()
        together = Batcher(doubling)
        count = 2 * AT_ONCE + 1
        results = await asyncio.gather(*(together.put(1 + number) for number in range(count)))
        assert results == [2 + 2 * number for number in range(count)]
        assert [len(lot) for lot in doubling.lots] == [AT_ONCE, AT_ONCE, 1]

    run(scenario)


def test_what_fails_fails_for_all_of_its_lot_and_for_no_other() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        together = Batcher(doubling)
        first = together.put(1)
        await asyncio.sleep(0)
        with_zero = [together.put(0), together.put(2)]
        doubling.may.set()
        assert await first == 2
        for each in with_zero:
            with pytest.raises(ValueError, match="zero"):
                await each
        assert await together.put(3) == 6

    run(scenario)


def test_who_goes_away_takes_nothing_from_the_others() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        together = Batcher(doubling)
        gone, stays = together.put(1), together.put(2)
        await asyncio.sleep(0)
        gone.cancel()
        doubling.may.set()
        assert await stays == 4

    run(scenario)
