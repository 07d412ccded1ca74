"""The routes of Mem0's hosted platform for users, agents, apps and runs, and for events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field

from holdfast.core.intake import clean_id
from holdfast.limits import ENTITIES_SHOWN_MAX, PAGE_MAX, PAGE_SIZE_MAX
from holdfast.model import ENTITY_KINDS, EntityKind, JobState, Json
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.reading import whole_list
from holdfast.server.mem0_platform.shapes import (
    EntityPage,
    EntityShape,
    EventPage,
    EventShape,
    MemoryShape,
    entity_shape,
    event_shape,
)
from holdfast.server.mem0_platform.shared import (
    ORGANISATION,
    DoneLater,
    Pages,
    Place,
    When,
    check_place,
    page_answer,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform", slashes=True)
router = route.router

_EVENTS_PAGE_SIZE = 50
PAGE_SIZE = 100
"""Entities on a page, where `page` is given alone."""

Somewhere = Annotated[Place, Query()]
Seeing = Annotated[Context, Depends(allow("entities"))]
Watching = Annotated[Context, Depends(allow("events"))]


@route("GET", "/v1/entities", summary="List entities", response_model=EntityPage)
@route("GET", "/v2/entities", summary="List entities (v2)", response_model=EntityPage)
async def entities(pages: Annotated[Pages, Query()], request: Request, context: Seeing) -> Reply:
    """Who has memories: all of them on one page, unless `page` or `page_size` is given.

    Clients delete everybody by deleting whom the first page names.
    """
    check_place(context, pages)
    if pages.page is None and pages.page_size is None:
        found, totals = await _everyone(context)
        page, size = ENTITIES_SHOWN_MAX // PAGE_SIZE_MAX, PAGE_SIZE_MAX  # it ends where this does
    else:
        page, size = pages.page or 1, pages.page_size or PAGE_SIZE
        answer = await context.memory.entities(page=page, page_size=size)
        found, totals = answer["results"], answer["totals"]
    results = [entity_shape(one, context.project, ORGANISATION) for one in found]
    shown = page_answer(request, page, size, sum(totals.values()), results)
    if pages.page is None:
        shown["previous"] = None
    return Reply({**shown, **{f"total_{kind}s": totals[kind] for kind in ENTITY_KINDS}})


class EntityNames(BaseModel):
    """What filters may name."""

    user_id: list[str]
    agent_id: list[str]
    app_id: list[str]
    run_id: list[str]


@route(
    "GET", "/v1/entities/filters", summary="List what filters may name", response_model=EntityNames
)
async def filters(place: Somewhere, context: Seeing) -> Reply:
    """The names of all entities, by the key that a filter names them with."""
    check_place(context, place)
    names: dict[str, list[str]] = {f"{kind}_id": [] for kind in ENTITY_KINDS}
    everyone, _ = await _everyone(context)
    for one in everyone:
        names[f"{one['type']}_id"].append(one["name"])
    return Reply(names)


async def _everyone(context: Context) -> tuple[list[Mapping[str, Json]], Mapping[str, int]]:
    """All entities, as far as one answer may hold, and how many of each kind there are."""
    found: list[Mapping[str, Json]] = []
    for page in range(1, ENTITIES_SHOWN_MAX // PAGE_SIZE_MAX + 1):
        answer = await context.memory.entities(page=page, page_size=PAGE_SIZE_MAX)
        found += answer["results"]
        if len(found) >= answer["total"] or not answer["results"]:
            break
    return found, answer["totals"]


@route(
    "GET", "/v1/entities/{kind}/{name:path}", summary="Get an entity", response_model=EntityShape
)
@route(
    "GET",
    "/v2/entities/{kind}/{name:path}",
    summary="Get an entity (v2)",
    response_model=EntityShape,
)
async def entity(kind: EntityKind, name: str, place: Somewhere, context: Seeing) -> Reply:
    """A user, agent, app or run that has memories."""
    check_place(context, place)
    found = await context.memory.entity(kind, name)
    return Reply(entity_shape(found, context.project, ORGANISATION))


@route(
    "DELETE",
    "/v1/entities/{kind}/{name:path}",
    summary="Delete an entity",
    response_model=DoneLater,
)
@route(
    "DELETE",
    "/v2/entities/{kind}/{name:path}",
    summary="Delete an entity (v2)",
    response_model=DoneLater,
)
async def delete_entity(
    kind: EntityKind,
    name: str,
    place: Somewhere,
    context: Annotated[Context, Depends(allow("delete_all"))],
) -> Reply:
    """Delete every memory of a user, agent, app or run. Deleting one that has none is fine."""
    check_place(context, place)
    id_ = clean_id(name, "name")  # "*" is no name here
    done = await context.memory.delete_all(filters={f"{kind}_id": id_})
    return Reply({"message": "Entity deleted successfully!", "event_id": done["event_id"]})


def _memories_of(kind: EntityKind) -> Callable[[str, Place, Context], Awaitable[Reply]]:
    async def memories(
        name: str, place: Somewhere, context: Annotated[Context, Depends(allow("get_all"))]
    ) -> Reply:
        """Every memory of an entity, the newest first."""
        check_place(context, place)
        return Reply(await whole_list(context, {f"{kind}_id": clean_id(name, "name")}))

    return memories


for _kind in ENTITY_KINDS:  # spelt out, so that `/v1/memories/{memory_id}/history` is none of them
    route(
        "GET",
        f"/v1/memories/{_kind}/{{name:path}}",
        summary=f"List the memories of one {_kind}",
        name=f"memories_of_{_kind}",
        response_model=list[MemoryShape],
    )(_memories_of(_kind))


class EventQuery(Place):
    """Which events are listed."""

    page: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 1
    page_size: Annotated[int, Field(ge=1, le=PAGE_SIZE_MAX)] = _EVENTS_PAGE_SIZE
    status: JobState | None = None
    event_type: Annotated[str | None, Field(examples=["ADD", "DELETE_ALL"])] = None
    start_date: Annotated[When, Field(description="Accepted then or later.")] = None
    end_date: Annotated[When, Field(description="Accepted before.")] = None


@route("GET", "/v1/events", summary="List events", response_model=EventPage)
@route("GET", "/v1/memories/events", summary="List events of memories", response_model=EventPage)
async def events(
    query: Annotated[EventQuery, Query()], request: Request, context: Watching
) -> Reply:
    """Adds and deletions that were accepted, the newest first, and how they stand."""
    check_place(context, query)
    found = await context.memory.events(
        status=query.status,
        event_type=query.event_type,
        since=query.start_date,
        before=query.end_date,
        page=query.page,
        page_size=query.page_size,
    )
    results = [event_shape(one) for one in found["results"]]
    return Reply(page_answer(request, query.page, query.page_size, found["total"], results))


@route("GET", "/v1/event/{event_id}", summary="Get an event", response_model=EventShape)
async def event(
    event_id: str, place: Somewhere, context: Annotated[Context, Depends(allow("event"))]
) -> Reply:
    """What came of an add or a deletion, or how far it is."""
    check_place(context, place)
    return Reply(event_shape(await context.memory.event(event_id)))
