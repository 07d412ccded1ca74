"""Work that many want at once and one does, and work that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from holdfast import deadline
from holdfast.errors import BudgetExceededError, HoldfastError
from holdfast.model import Usage
from holdfast.ports import Spent

T = TypeVar("T")

_log = logging.getLogger("holdfast")


class _Flight(Generic[T]):
    """Work under way, how many wait for it, and what it has spent and not reported yet."""

    __slots__ = ("context", "spent", "task", "waiting")

    def __init__(self, work: Callable[[Spent], Coroutine[Any, Any, T]]) -> None:
        self.spent: list[Usage] = []
        self.task = asyncio.create_task(work(self.spent.append))
        self.waiting = 0
        self.context = copy_context()

    def left_s(self) -> float:
        """Seconds left to the caller who began it; they bound what it calls."""
        return self.context.run(deadline.left_s)

    def tell(self, spent: Spent | None) -> None:
        """Report what was spent, if this caller wants to know."""
        if spent is not None:
            while self.spent:
                spent(self.spent.pop(0))


class Flights(Generic[T]):
    """Joins callers who want the same: the first begins it, all get what comes of it.

    Who is cancelled leaves the others alone; when nobody waits any more the work is cancelled too.
    What failed for somebody with less time, or a spent budget, is tried once more for the others.
    What the work spends is told once, to one of those who waited to the end.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether this is being made right now."""
        return key in self._flights

    async def run(
        self,
        key: str,
        work: Callable[[Spent], Coroutine[Any, Any, T]],
        spent: Spent | None = None,
        *,
        again: bool = True,
    ) -> T:
        """What `work` gives, begun now or by another caller before. Raises what it raises."""
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight(work)
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except HoldfastError as error:
            own = isinstance(error, BudgetExceededError) or deadline.left_s() > flight.left_s()
            if not (joined and again and own):
                raise
        finally:
            flight.waiting -= 1
            if flight.task.done() or not flight.waiting:
                flight.tell(spent)
            if not flight.task.done() and not flight.waiting:
                self._forget(key, flight.task)  # nobody may join what is being given up
                flight.task.cancel()

        return await self.run(key, work, spent, again=False)

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # those who wait are told; if all have left, it is nobody's

    def _forget(self, key: str, task: asyncio.Task[T]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]


class Afterwards:
    """Work that nobody waits for, a bounded number at a time; what is beyond is left undone."""

    def __init__(self, tasks_max: int) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._tasks_max = tasks_max

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it. It should not raise: nobody would be told but the log."""
        if len(self._tasks) >= self._tasks_max:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("cache: what was made could not be kept: %s", type(error).__name__)

    async def settle(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        """Give up what was begun."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Give up what was begun, and wait until it has ended."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
