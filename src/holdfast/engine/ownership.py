"""Whose a collection is: one record store's, so that no other takes it for its own and clears it.

Every record store has a number of its own, made when it first has an external index. A point in a
project that cannot be anybody's carries it. A collection without points is free to be taken.
"""

from __future__ import annotations

import asyncio
import secrets

from holdfast.errors import ConfigError
from holdfast.model import Entity, Project
from holdfast.ports import IndexSource, Point, Vectors

_PLACE = Project(":holdfast")
"""Ids of projects have no colon."""
_STORE = "index:store"
_HINT = "Choose another index.config.collection, or drop this one in its engine."

POINTS = 1
"""Points in a collection that are no memory's."""


async def own(source: IndexSource, vectors: Vectors) -> None:
    """Make sure that a collection is this record store's; an empty one becomes so.

    Raises ConfigError if it is another one's, IndexUnavailableError, StoreError.
    """
    mine = str(await _store_number(source))
    if await _owner(vectors) == mine:
        return
    if await vectors.count(None) == 0:
        # without terms and vector: nothing is ever found by it
        anybody = (Entity("app", "holdfast"),)
        point = Point(id=mine, entities=anybody, vector=None, terms=b"", mark=int(mine))
        await vectors.put(_PLACE, [point])
        await asyncio.sleep(vectors.settles_s)
    if await _owner(vectors) != mine:
        raise ConfigError(f"{vectors.name} is not this store's: another one fills it.", hint=_HINT)


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
