"""The routes of Mem0's hosted platform that find memories: search and lists, v1, v2 and v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import Field

from holdfast.errors import ValidationError
from holdfast.limits import BARE_LIST_MAX, PAGE_MAX, PAGE_SIZE_MAX, TOP_K_MAX
from holdfast.model import Json
from holdfast.server.bodies import Body
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.shapes import (
    Found,
    HitShape,
    MemoryPage,
    MemoryShape,
    hit_shape,
    memory_shape,
    only,
)
from holdfast.server.mem0_platform.shared import (
    Filters,
    Named,
    Pages,
    When,
    all_of,
    check_place,
    count_users,
    ids_of,
    page_answer,
    refuse_ids,
    refuse_unoffered,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform", slashes=True)
router = route.router

_PAGE_SIZE = 100
_THRESHOLD, _EARLIER_THRESHOLD = 0.1, 0.3

Allowed = Annotated[Context, Depends(allow("get_all"))]
Asked = Annotated[Context, Depends(allow("search"))]


class Narrowing(Body):
    """What narrows a search or a list down, beside the filters."""

    categories: Annotated[
        list[str] | None, Field(description="Any of these.", examples=[["food"]])
    ] = None
    fields: Annotated[
        list[str] | None, Field(description="Only these fields, and `id`.", examples=[["memory"]])
    ] = None
    show_expired: bool = False
    latest_only: Annotated[
        bool | None, Field(description="False: what something newer took the place of, too.")
    ] = None
    include_merged: Annotated[
        bool | None, Field(description="True: the same, for what became part of something newer.")
    ] = None

    @property
    def show_superseded(self) -> bool:
        """Whether memories that something newer took the place of are asked for."""
        return self.latest_only is False or self.include_merged is True

    def in_categories(self) -> dict[str, Json] | None:
        """The categories as a filter."""
        return {"categories": {"in": self.categories}} if self.categories else None


class SearchBody(Named, Narrowing):
    """A question to the memories that a filter names."""

    query: Annotated[str, Field(min_length=1, examples=["What may I not eat?"])]
    filters: Filters = None
    top_k: Annotated[int, Field(ge=1, le=TOP_K_MAX)] = 10
    threshold: Annotated[
        float | None, Field(ge=0, le=1, description="Default 0.1; before v3 0.3.")
    ] = None
    rerank: bool = False
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Only memories with these values.")
    ] = None
    reference_date: Annotated[When, Field(description='The day that "last week" is told from.')] = (
        None
    )
    explain: Annotated[bool, Field(description="Tell the shares of each score.")] = False
    temporal_reasoning: Annotated[
        bool | None, Field(description="False: times in the question are words like others.")
    ] = None


class EarlierSearchBody(SearchBody):
    """A search of clients before 2.0, which may name ids at the top."""

    limit: Annotated[int | None, Field(ge=1, le=TOP_K_MAX, description="Older name of top_k.")] = (
        None
    )
    output_format: Annotated[str | None, Field(description='"v1.1" for an object.')] = None


@route("POST", "/v3/memories/search", summary="Search memories", response_model=Found)
async def search(body: SearchBody, context: Asked) -> Reply:
    """The memories that answer a question, best first."""
    refuse_ids(body)
    return Reply(await _found(body, context, body.top_k, _THRESHOLD))


@route(
    "POST",
    "/v2/memories/search",
    summary="Search memories (v2)",
    response_model=Found | list[HitShape],
)
async def search_v2(body: EarlierSearchBody, context: Asked) -> Reply:
    """The same for clients before 2.0: a bare list, and ids may stand at the top.

    The header X-Holdfast-Degraded names the parts that were away, for a list has no place for it.
    """
    found = await _found(body, context, body.limit or body.top_k, _EARLIER_THRESHOLD)
    if body.output_format == "v1.1":
        return Reply(found)
    missing = ", ".join(found.get("degraded", ()))
    return Reply(found["results"], headers={"x-holdfast-degraded": missing} if missing else None)


@route(
    "POST",
    "/v1/memories/search",
    summary="Search memories (v1)",
    response_model=Found | list[HitShape],
)
async def search_v1(body: EarlierSearchBody, context: Asked) -> Reply:
    """The same for clients before 1.0."""
    return await search_v2(body, context)


async def _found(
    body: SearchBody, context: Context, top_k: int, threshold: float
) -> dict[str, Json]:
    check_place(context, body)
    refuse_unoffered(body)
    had = {"metadata": body.metadata} if body.metadata else None
    filters = all_of(ids_of(body), body.filters, body.in_categories(), had)
    await count_users(context, filters)
    found = await context.memory.search(
        body.query,
        filters=filters,
        top_k=top_k,
        threshold=threshold if body.threshold is None else body.threshold,
        rerank=body.rerank,
        explain=body.explain or "score_breakdown" in (body.fields or ()),
        reference_date=body.reference_date,
        temporal_reasoning=body.temporal_reasoning is not False,
        show_expired=body.show_expired,
        show_superseded=body.show_superseded,
    )
    return {**found, "results": [only(hit_shape(hit), body.fields) for hit in found["results"]]}


class Listing(Narrowing):
    """What a list is of."""

    start_date: Annotated[When, Field(description="Made then or later.")] = None
    end_date: Annotated[When, Field(description="Made then or before.")] = None
    keywords: Annotated[str | None, Field(description="Occurs in the text.")] = None

    def narrowed(self, *conditions: Mapping[str, Json] | None) -> dict[str, Json]:
        """The filter of the list."""
        ends = {"gte": self.start_date, "lte": self.end_date}
        made = {op: day for op, day in ends.items() if day is not None}
        return all_of(
            *conditions,
            self.in_categories(),
            {"created_at": made} if made else None,
            {"keywords": {"icontains": self.keywords}} if self.keywords else None,
        )


class ListBody(Named, Listing):
    """Which memories are listed; a page in the query goes before one here."""

    filters: Filters = None
    page: Annotated[int | None, Field(ge=1, le=PAGE_MAX)] = None
    page_size: Annotated[int | None, Field(ge=1, le=PAGE_SIZE_MAX)] = None


class EarlierListBody(ListBody):
    """A list of clients before 2.0, which may name ids at the top."""

    limit: Annotated[int | None, Field(ge=1, le=PAGE_SIZE_MAX)] = None
    top_k: Annotated[int | None, Field(ge=1, le=PAGE_SIZE_MAX)] = None


class ListQuery(Pages, Listing):
    """A list as clients before 1.0 ask for it."""

    user_id: Annotated[str | None, Field(examples=["alice"])] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    limit: Annotated[int | None, Field(ge=1, le=PAGE_SIZE_MAX)] = None
    top_k: Annotated[int | None, Field(ge=1, le=PAGE_SIZE_MAX)] = None


class Wanted(Body):
    """A list, however it was asked for."""

    filters: dict[str, Any]
    fields: list[str] | None
    show_expired: bool
    show_superseded: bool
    page: int | None = None
    size: int | None = None


@route("POST", "/v3/memories", summary="List memories", response_model=MemoryPage)
async def get_all(
    body: ListBody, pages: Annotated[Pages, Query()], request: Request, context: Allowed
) -> Reply:
    """A page of memories, the newest first, and how many there are."""
    refuse_ids(body)
    check_place(context, body, pages)
    refuse_unoffered(body)
    wanted = Wanted(
        filters=body.narrowed(body.filters),
        fields=body.fields,
        show_expired=body.show_expired,
        show_superseded=body.show_superseded,
        page=pages.page or body.page or 1,
        size=pages.page_size or body.page_size,
    )
    return Reply(await _page(request, context, wanted))


@route(
    "POST",
    "/v2/memories",
    summary="List memories (v2)",
    response_model=MemoryPage | list[MemoryShape],
)
async def get_all_v2(
    body: EarlierListBody, pages: Annotated[Pages, Query()], request: Request, context: Allowed
) -> Reply:
    """The same for clients before 2.0: a bare list of all, unless a page is named."""
    check_place(context, body, pages)
    refuse_unoffered(body)
    wanted = Wanted(
        filters=body.narrowed(ids_of(body), body.filters),
        fields=body.fields,
        show_expired=body.show_expired,
        show_superseded=body.show_superseded,
        page=pages.page or body.page,
        size=pages.page_size or body.page_size,
    )
    return await _earlier(request, context, wanted, body.limit or body.top_k)


@route(
    "GET",
    "/v1/memories",
    summary="List memories (v1)",
    response_model=MemoryPage | list[MemoryShape],
)
async def get_all_v1(
    query: Annotated[ListQuery, Query()], request: Request, context: Allowed
) -> Reply:
    """The same for clients before 1.0."""
    check_place(context, query)
    refuse_unoffered(query)
    wanted = Wanted(
        filters=query.narrowed(ids_of(query)),
        fields=query.fields,
        show_expired=query.show_expired,
        show_superseded=query.show_superseded,
        page=query.page,
        size=query.page_size,
    )
    return await _earlier(request, context, wanted, query.limit or query.top_k)


async def _earlier(request: Request, context: Context, wanted: Wanted, limit: int | None) -> Reply:
    if wanted.page is not None or wanted.size is not None:
        return Reply(await _page(request, context, wanted))
    if limit is not None:
        found = await _list(context, wanted, limit, 1)
        return Reply(_shown(found, wanted))
    whole = await whole_list(
        context,
        wanted.filters,
        wanted.fields,
        show_expired=wanted.show_expired,
        show_superseded=wanted.show_superseded,
    )
    return Reply(whole)


async def _page(request: Request, context: Context, wanted: Wanted) -> dict[str, Json]:
    page, size = wanted.page or 1, wanted.size or _PAGE_SIZE
    found = await _list(context, wanted, size, page)
    return page_answer(request, page, size, found["total"], _shown(found, wanted))


async def _list(context: Context, wanted: Wanted, size: int, page: int) -> dict[str, Json]:
    return await context.memory.get_all(
        filters=wanted.filters,
        top_k=size,
        page=page,
        show_expired=wanted.show_expired,
        show_superseded=wanted.show_superseded,
    )


def _shown(found: Mapping[str, Json], wanted: Wanted) -> list[Json]:
    return [only(memory_shape(memory), wanted.fields) for memory in found["results"]]


async def whole_list(
    context: Context,
    filters: Mapping[str, Json],
    fields: list[str] | None = None,
    *,
    show_expired: bool = False,
    show_superseded: bool = False,
) -> list[Json]:
    """Every memory that matches, which a list without pages promises.

    Raises ValidationError if there are more than BARE_LIST_MAX: it never leaves some out.
    """
    results: list[Json] = []
    cursor = None
    while True:
        found = await context.memory.get_all(
            filters=filters,
            top_k=PAGE_SIZE_MAX,
            cursor=cursor,
            show_expired=show_expired,
            show_superseded=show_superseded,
        )
        if found["total"] > BARE_LIST_MAX:
            raise ValidationError(
                f"There are more than {BARE_LIST_MAX:,} memories.",
                hint="Ask for them by page and page_size.",
            )
        results += [only(memory_shape(memory), fields) for memory in found["results"]]
        cursor = found["cursor"]
        if cursor is None:
            return results
