"""One process at a time, and none for ever."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from holdfast.clock import ManualClock
from holdfast.engine.leasing import Lease
from holdfast.ports import IndexSource


class Numbers:
    """Named numbers, whose moves take a while, and are made though nobody waits for them."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.slow = asyncio.Event()
        self.slow.set()
        self.under_way: set[asyncio.Task[bool]] = set()

    async def number(self, name: str) -> int | None:
        return self.known.get(name)

    async def move(self, name: str, expected: int | None, value: int | None) -> bool:
        task = asyncio.create_task(self._move(name, expected, value))
        self.under_way.add(task)
        return await asyncio.shield(task)

    async def _move(self, name: str, expected: int | None, value: int | None) -> bool:
        await self.slow.wait()
        if self.known.get(name) != expected:
            return False
        if value is None:
            self.known.pop(name, None)
        else:
            self.known[name] = value
        return True


def lease(numbers: Numbers, clock: ManualClock) -> Lease:
    return Lease(cast("IndexSource", cast("Any", numbers)), "x", clock, 30.0)


async def test_one_holds_it_until_it_says_nothing_any_more() -> None:
    numbers, clock = Numbers(), ManualClock(1_000.0)
    first, second = lease(numbers, clock), lease(numbers, clock)
    assert await first.hold()
    assert not await second.hold()
    clock.advance(20)
    assert await first.hold(), "renewed"
    clock.advance(20)
    assert not await second.hold()
    clock.advance(20)
    assert await second.hold()
    assert not await first.hold()
    await first.release()
    assert not await first.hold(), "what was lost cannot be given away"
    await second.release()
    assert await first.hold()


async def test_who_was_cancelled_while_taking_it_does_not_shut_itself_out() -> None:
    for late in (False, True):
        numbers, clock = Numbers(), ManualClock(1_000.0)
        mine, other = lease(numbers, clock), lease(numbers, clock)
        numbers.slow.clear()
        taking = asyncio.create_task(mine.hold())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        if late:  # the move is made while the next one is asked for
            again = asyncio.create_task(mine.hold())
            await asyncio.sleep(0)
            numbers.slow.set()
            assert await again
        else:
            numbers.slow.set()
            await asyncio.gather(*numbers.under_way)
            clock.advance(1)
            assert await mine.hold()
        assert not await other.hold()
        await mine.release()
        assert await other.hold()
        await asyncio.gather(*numbers.under_way)
