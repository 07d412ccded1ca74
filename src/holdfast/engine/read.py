"""`get`, `get_all`, `history`, `entities`: reading without ranking."""

from __future__ import annotations

from holdfast.engine.parts import Parts
from holdfast.filters import Filter
from holdfast.model import EntitySummary, HistoryEvent, Memory, Page, Struct
from holdfast.ports import Listing, View


class ListRequest(Struct, frozen=True, kw_only=True):
    """A validated listing."""

    filter: Filter
    size: int
    cursor: str | None = None
    offset: int = 0
    show_expired: bool = False
    as_of: float | None = None
    oldest_first: bool = False


async def get(parts: Parts, memory_id: str) -> Memory | None:
    """One memory, superseded and expired ones too; None if there is none."""
    found = await parts.records.fetch(parts.project, [memory_id])
    return found[0] if found else None


async def get_all(parts: Parts, request: ListRequest) -> Page:
    """A page of listed memories, newest first, with the exact count of all that match."""
    view = View(now=parts.clock.now(), as_of=request.as_of, show_expired=request.show_expired)
    listing = Listing(
        filter=request.filter,
        view=view,
        size=request.size,
        cursor=request.cursor,
        offset=request.offset,
        oldest_first=request.oldest_first,
    )
    return await parts.records.page(parts.project, listing)


async def history(parts: Parts, memory_id: str) -> list[HistoryEvent]:
    """Every change of one memory, oldest first; of deleted ones too."""
    return await parts.records.history(parts.project, memory_id)


async def entities(parts: Parts, offset: int, size: int) -> tuple[list[EntitySummary], int]:
    """Who has memories, and how many entities there are."""
    return await parts.records.entities(parts.project, offset, size)
