"""Which record store a collection belongs to, so that no other takes it for its own and clears it.

Every record store has a number of its own, made when it first has an external index. A point in a
project that cannot be anybody's carries it. A collection without points is free to be taken.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from holdfast.errors import ConfigError
from holdfast.model import Entity, Project
from holdfast.ports import IndexSource, Point, Vectors

_PLACE = Project(":holdfast")
"""Ids of projects have no colon."""
_STORE = "index:store"
_HINT = "Choose another index.config.collection, or drop this one in its engine."

POINTS = 1
"""Points in a collection that are no memory's."""


async def own(source: IndexSource, vectors: Vectors, forget: Callable[[], Awaitable[None]]) -> None:
    """Make sure that a collection is this record store's; an empty one becomes so.

    `forget`: called before that, for what was noted of it is of one that is gone.

    Raises ConfigError if it is another one's, IndexUnavailableError, StoreError.
    """
    project, point = await sign(source)
    if await _owner(vectors) == point.id:
        return
    if await vectors.count(None) == 0:
        await forget()
        await vectors.put(project, [point])
        await asyncio.sleep(vectors.settles_s)
    if await _owner(vectors) != point.id:
        raise ConfigError(f"{vectors.name} is not this store's: another one fills it.", hint=_HINT)


async def sign(source: IndexSource) -> tuple[Project, Point]:
    """The point that makes a collection this record store's, and where it is."""
    mine = await _store_number(source)
    # without terms and vector: nothing is ever found by it
    anybody = (Entity("app", "holdfast"),)
    return _PLACE, Point(id=str(mine), entities=anybody, vector=None, terms=b"", mark=mine)


async def _owner(vectors: Vectors) -> str | None:
    """Whose a collection is; None if nobody said, or several did."""
    page, _ = await vectors.marks(_PLACE, None, 2)
    return page[0][0] if len(page) == 1 else None


async def _store_number(source: IndexSource) -> int:
    """The number of a record store."""
    known = await source.number(_STORE)
    if known is None:
        await source.move(_STORE, None, secrets.randbits(62))
        known = await source.number(_STORE)
    assert known is not None, "a number that was made stays"
    return known
