"""`get`, `get_all`, `history`, `entities`: reading without ranking."""

from __future__ import annotations

from holdfast.core.fence import fenced, inside
from holdfast.engine.parts import Parts, scope_of
from holdfast.filters import Compare, Filter
from holdfast.limits import PAGE_SIZE_MAX
from holdfast.model import EntitySummary, HistoryEvent, Job, JobState, Memory, Page, Struct
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
    return found[0] if found and inside(parts.fence, found[0].scope) else None


async def get_all(parts: Parts, request: ListRequest) -> Page:
    """A page of listed memories, newest first, with the exact count of all that match."""
    view = View(now=parts.clock.now(), as_of=request.as_of, show_expired=request.show_expired)
    listing = Listing(
        filter=fenced(parts.fence, request.filter),
        view=view,
        size=request.size,
        cursor=request.cursor,
        offset=request.offset,
        oldest_first=request.oldest_first,
    )
    return await parts.records.page(parts.project, listing)


async def history(parts: Parts, memory_id: str) -> list[HistoryEvent]:
    """Every change of one memory, oldest first; of deleted ones too."""
    events = await parts.records.history(parts.project, memory_id)
    return [event for event in events if inside(parts.fence, event.scope)]


async def entities(parts: Parts, offset: int, size: int) -> tuple[list[EntitySummary], int]:
    """Who has memories, and how many entities there are."""
    if parts.fence.is_open:
        return await parts.records.entities(parts.project, offset, size)
    found = await _entities_inside(parts)
    return found[offset : offset + size], len(found)


async def _entities_inside(parts: Parts) -> list[EntitySummary]:
    """Those the fence names, with the memories inside it; nothing tells of others."""
    found = []
    for entity in parts.fence.entities():
        named = Compare(f"{entity.kind}_id", "eq", entity.id)
        request = ListRequest(filter=named, size=1, oldest_first=True, show_expired=True)
        first = await get_all(parts, request)
        if not first.memories:
            continue
        last = await get_all(parts, ListRequest(filter=named, size=1, show_expired=True))
        summary = EntitySummary(
            kind=entity.kind,
            id=entity.id,
            memories=first.total,
            created_at=first.memories[0].created_at,
            updated_at=last.memories[0].updated_at,
        )
        found.append(summary)
    return sorted(found, key=lambda each: (each.kind, each.id))


async def jobs(parts: Parts, status: JobState | None, offset: int, size: int) -> list[Job]:
    """A page of jobs, counting only those the caller may see."""
    if parts.fence.is_open:
        return await parts.jobs.jobs(parts.project, status, offset, size)
    found: list[Job] = []
    start = 0
    while len(found) < offset + size:
        page = await parts.jobs.jobs(parts.project, status, start, PAGE_SIZE_MAX)
        found += [job for job in page if inside(parts.fence, scope_of(job))]
        start += len(page)
        if len(page) < PAGE_SIZE_MAX:
            break
    return found[offset : offset + size]
