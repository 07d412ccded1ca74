"""The routes of Mem0's hosted platform, as its clients call them: v1, v2 and v3."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from pydantic import Field

from holdfast.server.bodies import Body
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform", slashes=True)
router = route.router


class SearchBody(Body):
    """A question to the memories that a filter names."""

    query: Annotated[str, Field(min_length=1, examples=["What may I not eat?"])]
    filters: Annotated[dict[str, Any] | None, Field(examples=[{"user_id": "alice"}])] = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    rerank: bool = False


@route("POST", "/v3/memories/search", summary="Search memories")
async def search(body: SearchBody, context: Annotated[Context, Depends(allow("search"))]) -> Reply:
    """The memories that answer a question, best first."""
    found = await context.memory.search(
        body.query,
        filters=body.filters,
        top_k=body.top_k,
        threshold=body.threshold,
        rerank=body.rerank,
    )
    return Reply(found)


@route("GET", "/v1/ping", summary="Who am I")
async def ping(context: Annotated[Context, Depends(allow("whoami"))]) -> Reply:
    """Which project a key belongs to."""
    return Reply(
        {
            "status": "ok",
            "org_id": "holdfast",
            "project_id": context.project,
            "user_email": f"{context.principal.id}@holdfast.invalid",
        }
    )
