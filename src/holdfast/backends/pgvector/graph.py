"""Making the graph over the vectors of a collection in pgvector, once its points are there.

A graph that is kept in step while a collection is filled slows the filling to a fraction; one that
is made of what is there takes all the memory and workers it is given. Meanwhile the collection is
searched point by point and written, for it is made concurrently. Whoever makes it shows in the
progress of the server; one that was cut off is marked invalid there, and made anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from psycopg import errors

from holdfast.backends.pgvector.connect import Connections, translation
from holdfast.backends.pgvector.statements import Statements
from holdfast.model import OnProgress, Struct

Ask = Callable[[str, dict[str, Any]], Awaitable[list[Any]]]
"""Runs a statement above the fence; its rows."""

_LOOK_S: Final = 0.5
_TOO_LATE: Final = (errors.DuplicateTable, errors.DeadlockDetected)
"""Somebody else began at the same moment; of two that wait for each other, one is given up."""
_LOCK_TIMEOUT: Final = "5s"
"""Longer than it takes until an autovacuum gives way."""


class State(Struct, frozen=True, kw_only=True):
    """How the graph of a collection stands."""

    graph: Literal["made", "making", "broken", "none"]
    is_enough: bool
    """Whether there are so many points that it pays."""
    done: int = 0
    """Points that are in it, while it is made."""

    @property
    def done_or_none(self) -> int | None:
        """How far it is; None if nobody makes it."""
        return self.done if self.graph == "making" else None


async def standing(ask: Ask, statements: Statements, least: int) -> State:
    """How it stands, where it pays from `least` points on."""
    [(is_enough, is_valid, done)] = await ask(statements.standing, {"least": least})
    if is_valid:
        return State(graph="made", is_enough=is_enough)
    if done is not None:
        return State(graph="making", is_enough=is_enough, done=done)
    return State(graph="none" if is_valid is None else "broken", is_enough=is_enough)


class Maker:
    """Makes the graph of one collection."""

    def __init__(
        self, connections: Connections, ask: Ask, statements: Statements, name: str, create: str
    ) -> None:
        """`create`: the statement that makes the graph. `name`: for people."""
        self._connections = connections
        self._ask = ask
        self._statements = statements
        self._name = name
        self._create = create

    async def make(self, least: int, told: OnProgress | None) -> None:
        """Make it, if there are `least` points and it is not there; or wait for who makes it.

        `told`: how many points are in it, and of how many. Raises IndexUnavailableError,
        ConfigError.
        """
        total: int | None = None
        while True:
            state = await standing(self._ask, self._statements, least)
            if state.graph == "made" or not state.is_enough:
                return
            if total is None:
                [(total,)] = await self._ask(self._statements.count(True), {})
            if state.graph == "making":
                if told is not None:
                    told(min(state.done, total), total)
                await asyncio.sleep(_LOOK_S)
            elif state.graph == "broken":
                await self._drop_broken()
            else:
                await self._made(total, told)

    async def _made(self, total: int, told: OnProgress | None) -> None:
        """Make it on a connection of its own, which may take hours."""
        connection = await self._connections.single()
        making: asyncio.Task[Any] | None = None
        try:
            with translation(self._name):
                await connection.execute("SET statement_timeout = 0")
                making = asyncio.create_task(connection.execute(self._create))
                while not (await asyncio.wait({making}, timeout=_LOOK_S))[0]:
                    [(done,)] = await self._ask(self._statements.progress, {})
                    if told is not None and done is not None:
                        told(min(done, total), total)
                try:
                    await making
                except _TOO_LATE:
                    await asyncio.sleep(random.uniform(0.0, 2 * _LOOK_S))
                    return
                await connection.execute(self._statements.analyze)
            if told is not None:
                told(total, total)
        finally:
            if making is not None and not making.done():
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)
            await connection.close()

    async def _drop_broken(self) -> None:
        """Take away what was cut off, unless somebody is at it by now: whoever makes a graph has
        the lock that is asked for."""
        connection = await self._connections.single()
        try:
            with translation(self._name):
                async with connection.transaction():
                    await connection.execute(
                        "SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,)
                    )
                    await connection.execute(self._statements.lock)
                    cursor = await connection.execute(self._statements.broken)
                    for (statement,) in await cursor.fetchall():
                        await connection.execute(statement)
        finally:
            await connection.close()
