"""Callers who want the same at once, and work that nobody waits for."""

from __future__ import annotations

import asyncio
import logging

import pytest

from holdfast import deadline
from holdfast.errors import ModelUnavailableError
from holdfast.model import Usage
from holdfast.ports import Spent
from holdfast.wrap.flights import Afterwards, Flights


class Work:
    """Counts how often it was begun, ended and given up."""

    def __init__(self) -> None:
        self.begun = 0
        self.given_up = 0
        self.going_on = asyncio.Event()

    async def __call__(self, spent: Spent) -> int:
        self.begun += 1
        number = self.begun
        spent(Usage(model="a:b", input_tokens=number))
        try:
            await self.going_on.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            await asyncio.sleep(0)  # what is given up may take its time
            raise
        return number


async def waiting(flights: Flights[int], work: Work, number: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.run("a", work)) for _ in range(number)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_all_get_what_one_makes() -> None:
    flights, work = Flights[int](), Work()
    tasks = await waiting(flights, work, 5)
    assert "a" in flights
    work.going_on.set()
    assert await asyncio.gather(*tasks) == [1] * 5
    assert "a" not in flights
    assert await flights.run("a", work) == 2, "what has landed is not joined"


async def test_other_keys_are_other_work() -> None:
    flights, work = Flights[int](), Work()
    work.going_on.set()
    assert await asyncio.gather(flights.run("a", work), flights.run("b", work)) == [1, 2]


async def test_the_last_to_leave_gives_it_up_and_nobody_joins_that() -> None:
    flights, work = Flights[int](), Work()
    tasks = await waiting(flights, work, 3)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.gather(*tasks[:2], return_exceptions=True)
    assert (work.given_up, "a" in flights) == (0, True)
    tasks[2].cancel()
    await asyncio.sleep(0)
    later = await waiting(flights, work, 1)
    assert (work.begun, work.given_up) == (2, 1)
    work.going_on.set()
    assert await later[0] == 2
    assert "a" not in flights
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_was_spent_is_told_once() -> None:
    flights, work, told = Flights[int](), Work(), list[Usage]()
    work.going_on.set()
    await asyncio.gather(*(flights.run("a", work, told.append) for _ in range(5)))
    assert [usage.input_tokens for usage in told] == [1]
    assert await flights.run("a", work) == 2, "nobody needs to be told"


async def test_an_error_is_raised_to_all_and_to_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flights = Flights[int]()

    async def failing(_spent: Spent) -> int:
        await asyncio.sleep(0)
        raise LookupError("no")

    asked = (flights.run("a", failing) for _ in range(3))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in found] == [LookupError] * 3
    assert caplog.records == []


async def test_who_has_longer_does_not_fail_with_one_whose_time_was_short() -> None:
    flights, begun = Flights[int](), list[float]()

    async def heeding(_spent: Spent) -> int:
        begun.append(deadline.left_s())
        await asyncio.sleep(0.01)
        if deadline.left_s() < 100:
            raise ModelUnavailableError("late")
        return len(begun)

    async def hurried() -> int:
        with deadline.time_limit(1):
            return await flights.run("a", heeding)

    first = asyncio.create_task(hurried())
    await asyncio.sleep(0)
    others = [asyncio.create_task(flights.run("a", heeding)) for _ in range(3)]
    found = await asyncio.gather(first, *others, return_exceptions=True)
    assert isinstance(found[0], ModelUnavailableError)
    assert found[1:] == [2, 2, 2]
    assert len(begun) == 2, "one after the other, not one for each"


async def test_what_fails_for_all_is_tried_at_most_twice() -> None:
    flights, begun = Flights[int](), list[int]()

    async def failing(_spent: Spent) -> int:
        begun.append(1)
        await asyncio.sleep(0.01)
        raise ModelUnavailableError("away")

    async def limited(seconds: float) -> int:
        with deadline.time_limit(seconds):
            return await flights.run("a", failing)

    asked = [asyncio.create_task(limited(10 + n)) for n in range(8)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, ModelUnavailableError) for each in found)
    assert len(begun) == 2


async def test_work_afterwards_is_bounded_and_can_be_given_up() -> None:
    afterwards, done = Afterwards(3), list[int]()

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    for number in range(5):
        afterwards.do(work(number))
    await afterwards.settle()
    assert done == [0, 1, 2]
    afterwards.do(work(7))
    await afterwards.close()
    assert done == [0, 1, 2]


async def test_a_failure_afterwards_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    afterwards = Afterwards(3)

    async def failing() -> None:
        raise LookupError("what was said")

    afterwards.do(failing())
    await asyncio.sleep(0.01)
    assert "could not be kept: LookupError" in caplog.text
    assert "what was said" not in caplog.text
