"""`get`, `get_all`, `history`, `entities`: reading without ranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from holdfast.core.fence import fenced, inside, mark_of
from holdfast.core.intake import Said, clean_id
from holdfast.core.outcome import HELD, missing_part, with_held
from holdfast.core.shapes import Provenance, event_shape, job_event, job_items, said_shapes
from holdfast.engine.parts import Parts, scope_of
from holdfast.errors import NotFoundError
from holdfast.filters import Compare, Filter
from holdfast.limits import PAGE_SIZE_MAX
from holdfast.model import (
    Entity,
    EntityKind,
    EntitySummary,
    HistoryEvent,
    Job,
    JobState,
    Json,
    Memory,
    Page,
    Struct,
)
from holdfast.ports import Listing, View


class ListRequest(Struct, frozen=True, kw_only=True):
    """A validated listing."""

    filter: Filter
    size: int
    cursor: str | None = None
    offset: int = 0
    show_expired: bool = False
    show_superseded: bool = False
    as_of: float | None = None
    oldest_first: bool = False


async def get(parts: Parts, memory_id: str) -> Memory | None:
    """One memory, superseded and expired ones too; None if there is none."""
    found = await parts.records.fetch(parts.project, [memory_id])
    return found[0] if found and inside(parts.fence, found[0].scope) else None


async def get_all(parts: Parts, request: ListRequest) -> Page:
    """A page of listed memories, newest first, with the exact count of all that match."""
    view = View(
        now=parts.clock.now(),
        as_of=request.as_of,
        show_expired=request.show_expired,
        show_superseded=request.show_superseded,
    )
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


async def provenance(parts: Parts, memory_id: str) -> Provenance:
    """Where a memory comes from. Raises NotFoundError."""
    memory = await get(parts, memory_id)
    if memory is None:
        raise NotFoundError(
            f"Memory with id {memory_id} not found.", hint="`get_all` and `search` tell ids."
        )
    sources = await parts.records.sources(parts.project, memory_id)
    turns = await parts.records.turns(parts.project, [source.turn_id for source in sources])
    quotes = {source.turn_id: source.quote for source in sources}
    return Provenance(
        memory=memory,
        sources=tuple((turn, quotes[turn.id]) for turn in turns),
        changes=tuple(await history(parts, memory_id)),
    )


async def inside_of(parts: Parts, ids: Sequence[str]) -> list[Memory]:
    """Those of these memories that exist and may be seen, in the order asked for."""
    found = await parts.records.fetch(parts.project, ids)
    return [memory for memory in found if inside(parts.fence, memory.scope)]


async def entities(
    parts: Parts, offset: int, size: int
) -> tuple[list[EntitySummary], Mapping[EntityKind, int]]:
    """Who has memories, and how many of each kind there are in all."""
    if parts.fence.is_open:
        return await parts.records.entities(parts.project, offset, size)
    each = [await _summary(parts, named) for named in parts.fence.entities()]
    found = sorted(filter(None, each), key=lambda one: (one.kind, one.id))
    return found[offset : offset + size], Counter(one.kind for one in found)


async def entity(parts: Parts, named: Entity) -> EntitySummary:
    """One entity with its memories that may be seen. Raises NotFoundError if it has none."""
    found = await _summary(parts, named)
    if found is None:
        raise NotFoundError(f"This {named.kind} has no memories.", hint="`entities` lists who has.")
    return found


async def _summary(parts: Parts, named: Entity) -> EntitySummary | None:
    wanted = fenced(parts.fence, Compare(f"{named.kind}_id", "eq", named.id))
    view = View(now=parts.clock.now(), show_expired=True, listed_only=False)
    first = await _edge(parts, Listing(filter=wanted, view=view, size=1, oldest_first=True))
    if first is None:
        return None
    last = await _edge(parts, Listing(filter=wanted, view=view, size=1))
    listed = await parts.records.page(
        parts.project, Listing(filter=wanted, view=replace(view, listed_only=True), size=1)
    )
    return EntitySummary(
        kind=named.kind,
        id=named.id,
        memories=listed.total,
        created_at=first.created_at,
        updated_at=(last or first).updated_at,
    )


async def _edge(parts: Parts, listing: Listing) -> Memory | None:
    page = await parts.records.page(parts.project, listing)
    return page.memories[0] if page.memories else None


class JobsRequest(Struct, frozen=True, kw_only=True):
    """A validated question for jobs; times are epoch seconds of their creation."""

    offset: int
    size: int
    status: JobState | None = None
    event: str | None = None
    since: float | None = None
    before: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the status is asked for."""
        return self.event is None and self.since is None and self.before is None


async def jobs(parts: Parts, request: JobsRequest) -> tuple[list[Job], int]:
    """A page of jobs, the newest first, and how many there are, of those the caller may see."""
    status = request.status
    if parts.fence.is_open and request.is_plain:
        page = await parts.jobs.jobs(parts.project, status, request.offset, request.size)
        return page, await parts.jobs.count_jobs(parts.project, status)
    found: list[Job] = []
    total = start = 0
    while True:
        page = await parts.jobs.jobs(parts.project, status, start, PAGE_SIZE_MAX)
        for job in page:
            if _asked(request, job) and may_see(parts, job):
                total += 1
                if request.offset < total <= request.offset + request.size:
                    found.append(job)
        start += len(page)
        if len(page) < PAGE_SIZE_MAX:
            return found, total


async def job(parts: Parts, event_id: str) -> Job:
    """One job that the caller may know of. Raises NotFoundError, ValidationError."""
    found = await parts.jobs.job(parts.project, clean_id(event_id, "event_id"))
    if found is None or not may_see(parts, found):
        raise NotFoundError(f"Event {event_id} not found.", hint="`events` lists those known.")
    return found


async def event(parts: Parts, job: Job) -> dict[str, Json]:
    """A job as an event, with the texts of the memories it names that may be seen."""
    ids = [item["id"] for item in job_items(job) if item.get("id")]
    # an add that was just accepted names none: its answer waits for no reader
    texts = {memory.id: memory.text for memory in await inside_of(parts, ids)} if ids else {}
    return event_shape(job, texts)


async def add_answer(
    parts: Parts,
    job: Job | None,
    said: Sequence[Said],
    items: Sequence[Mapping[str, Json]] = (),
) -> dict[str, Json]:
    """An add's answer: the state of the job behind it, or what became of its messages."""
    if job is None:
        return {"results": said_shapes(items, said)}
    shown, results = await event(parts, job), job_items(job)
    if job.kind != "extract" and len(results) == len(said):  # kept word for word
        now = [one["memory"] for one in shown["results"]]  # None of what was deleted since
        kept = said_shapes(results, said)
        shown["results"] = [
            one if one["event"] == HELD else {**one, "memory": text}
            for one, text in zip(kept, now, strict=True)
        ]
    elif (held := job.payload.get("held")) is not None and said:
        words = said_shapes(
            with_held([], {**held, "places": range(len(held["places"]))}),
            [said[place] for place in held["places"]],
        )
        shown["results"][-len(words) :] = words
    told = {"results": shown["results"], "status": job.state, "event_id": job.id}
    for name in ("error", "error_code", "rejected"):
        if shown[name]:
            told[name] = shown[name]
    space = parts.embedder.space
    llm = None if parts.llm is None else parts.llm.name
    missing = missing_part(job, llm, f"{space.provider}:{space.model}")
    if missing is not None:
        parts.metrics.count("degraded_answer", missing)
        told["degraded"] = [missing]
    return told


def may_see(parts: Parts, job: Job) -> bool:
    """Whether the caller may know of a job: of its scope, or ordered from behind the same fence."""
    mark = job.payload.get("fence")
    return inside(parts.fence, scope_of(job)) or (mark is not None and mark == mark_of(parts.fence))


def _asked(request: JobsRequest, job: Job) -> bool:
    return (
        request.event in (None, job_event(job))
        and (request.since is None or job.created_at >= request.since)
        and (request.before is None or job.created_at < request.before)
    )
