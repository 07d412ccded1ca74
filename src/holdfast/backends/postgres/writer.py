"""Commits that wait are carried out together, those of each project in a lane of their own.

While a lane's transaction is under way, further commits of its project gather, and the next one
takes them all (group commit). If any of a group fails, all is undone and each is run again on its
own, so that one caller's error is never another's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from holdfast.errors import ClosedError, StoreError, StoreUnavailableError
from holdfast.limits import WRITE_BATCH_MAX, WRITE_QUEUE_MAX
from holdfast.model import Json, Project
from holdfast.ports import Op

Transact = Callable[[Project, Sequence[Sequence[Op]]], Awaitable[list[list[Json]]]]
"""Carries out commits of a project in one transaction; the results of each."""

Request = tuple[Sequence[Op], "asyncio.Future[list[Json]]"]


class Writer:
    """Gathers the commits of one event loop."""

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self._waiting: dict[Project, deque[Request]] = {}
        self._lanes: dict[Project, asyncio.Task[None]] = {}
        self._count = 0
        self._closed = False

    async def run(self, project: Project, ops: Sequence[Op]) -> list[Json]:
        """Carry out one commit; returns when it is durable, raises what it raised."""
        if self._closed:
            raise ClosedError("The record store is closed.")
        if self._count >= WRITE_QUEUE_MAX:
            raise StoreUnavailableError(
                f"{WRITE_QUEUE_MAX} writes are waiting.", hint="Slow down, then retry."
            )
        future: asyncio.Future[list[Json]] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._waiting.setdefault(project, deque()).append((ops, future))
        if project not in self._lanes:
            self._lanes[project] = asyncio.create_task(self._serve(project))
        # a cancelled caller does not undo the write: it was accepted and will be committed
        return await future

    @property
    def waiting(self) -> int:
        """How many commits wait or are under way."""
        return self._count

    def refuse(self) -> None:
        """Take no more commits. Idempotent."""
        self._closed = True

    async def close(self) -> None:
        """Finish what waits."""
        self.refuse()
        await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    async def _serve(self, project: Project) -> None:
        waiting = self._waiting[project]
        group: list[Request] = []
        try:
            while waiting:
                group = [waiting.popleft() for _ in range(min(len(waiting), WRITE_BATCH_MAX))]
                await self._commit(project, group)
                self._count -= len(group)
                group = []
        finally:
            # only a lane that is cancelled, with its loop, leaves something
            left = [*group, *waiting]
            self._count -= len(left)
            for _, future in left:
                future.cancel()
            del self._waiting[project], self._lanes[project]

    async def _commit(self, project: Project, group: list[Request]) -> None:
        error = await self._carry_out(project, group)
        if error is None:
            return
        if len(group) == 1 or isinstance(error, StoreError):
            # what the database could not do, it is not asked again for each
            for _, future in group:
                _settle(future, error=error)
            return
        for request in group:
            await self._commit(project, [request])

    async def _carry_out(self, project: Project, group: list[Request]) -> Exception | None:
        """Tell the callers their results, or say what went wrong."""
        try:
            results = await self._transact(project, [ops for ops, _ in group])
        except Exception as error:  # noqa: BLE001  (it is raised in the callers)
            return error
        for (_, future), result in zip(group, results, strict=True):
            _settle(future, result=result)
        return None


def _settle(future: asyncio.Future[Any], *, result: Any = None, error: Any = None) -> None:
    if future.done():  # the caller was cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
