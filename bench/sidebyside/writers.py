"""Many writers at once: tasks of one event loop that share a list of turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from sidebyside.contender import Turn

AddOne = Callable[[str, str], Awaitable[object]]


async def write_all(add: AddOne, turns: list[Turn], writers: int) -> float:
    """Adds every turn, `writers` at any moment, each writer waiting for its add before the next.

    Returns the seconds taken. The first add that fails ends the run with its error.
    """
    waiting: Iterator[Turn] = iter(turns)

    async def writer() -> None:
        for user, text in waiting:
            await add(user, text)

    begin = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    return time.perf_counter() - begin
