"""Many writers at once: tasks of one event loop that share a list of turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from sidebyside.contender import Turn

AddOne = Callable[[str, str], Awaitable[object]]


@dataclass
class Written:
    """What many writers did: seconds for all, and the errors of the adds that were not accepted."""

    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


async def write_all(add: AddOne, turns: list[Turn], writers: int) -> Written:
    """Adds every turn, `writers` at any moment, each writer waiting for its add before the next.

    An add that raises is kept as an error and the writer goes on: a store that refuses some of its
    concurrent writes is to be told from one that is fast.
    """
    written = Written()
    waiting: Iterator[Turn] = iter(turns)

    async def writer() -> None:
        for user, text in waiting:
            try:
                await add(user, text)
            except Exception as error:  # noqa: BLE001  any library's any error: counted, reported
                written.errors.append(f"{type(error).__name__}: {error}")

    begin = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    written.seconds = time.perf_counter() - begin
    return written
