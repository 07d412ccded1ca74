"""Our own routes to export everything that is known of a subject, and to erase it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from holdfast.core.erasure import erasure_shape
from holdfast.limits import PAGE_SIZE_MAX
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: subjects")
router = route.router

ErasureId = Annotated[str, Path(examples=["0197a3c0-0000-7000-8000-000000000000"])]
_TYPES = {"json": "application/json", "html": "text/html"}
_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/html": {"schema": {"type": "string"}},
        },
        "description": "One document, as `form` asks for it.",
    }
}


class SubjectBody(BaseModel):
    """Exactly one user, agent, app or run."""

    model_config = ConfigDict(extra="forbid")

    user_id: Annotated[str | None, Field(examples=["alice"])] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None


class SubjectExportBody(SubjectBody):
    """Whose data, and in which form."""

    form: Annotated[
        Literal["json", "html"], Field(description="html: one page to read, without scripts.")
    ] = "json"


class InventoryShape(BaseModel):
    """How many rows of each copy are the subject's."""

    found: dict[str, int]


class ErasureShape(BaseModel):
    """An erasure; whom it is of is not told."""

    id: str
    project: str
    kind: Literal["user", "agent", "app", "run"]
    state: Annotated[
        Literal["RUNNING", "DONE", "FAILED"],
        Field(description="FAILED: something was left, see `remains`."),
    ]
    found: Annotated[dict[str, int], Field(description="Rows of each copy when it began.")]
    remains: Annotated[dict[str, int], Field(description="What was found afterwards.")]
    started_at: str
    completed_at: str | None
    receipt: Annotated[dict[str, Any] | None, Field(description="Signed, once it is done.")]


class ErasuresShape(BaseModel):
    """A page of erasures."""

    results: list[ErasureShape]


@route(
    "POST",
    "/holdfast/subjects/inventory",
    summary="Count what is known of a subject",
    response_model=InventoryShape,
)
async def inventory(
    body: SubjectBody, context: Annotated[Context, Depends(allow("export_subject"))]
) -> Reply:
    """Every copy, by name; nothing is changed. Costs a scan of the project."""
    found = await context.admin.erasure.inventory(**body.model_dump(), project=context.project)
    return Reply({"found": found})


@route(
    "POST",
    "/holdfast/subjects/export",
    summary="Export everything that is known of a subject",
    response_class=StreamingResponse,
    responses=_EXPORTED,
)
async def export_subject(
    body: SubjectExportBody, context: Annotated[Context, Depends(allow("export_subject"))]
) -> StreamingResponse:
    """Memories in all their states, history, turns, jobs and whatever else there is."""
    pieces = context.admin.erasure.export(**body.model_dump(), project=context.project)
    first = await anext(pieces)  # what is wrong with the call is said before an answer is begun
    headers = {
        "Content-Disposition": f'attachment; filename="subject.{body.form}"',
        "Cache-Control": "no-store",
    }
    return StreamingResponse(_all(first, pieces), media_type=_TYPES[body.form], headers=headers)


async def _all(first: str, pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for piece in pieces:
        yield piece


@route(
    "POST",
    "/holdfast/erasures",
    summary="Erase everything that is known of a subject",
    response_model=ErasureShape,
)
async def forget(body: SubjectBody, context: Annotated[Context, Depends(allow("forget"))]) -> Reply:
    """Every copy is erased and looked for; the answer has a signed receipt.

    Where the answer does not come in time, it goes on all the same: list the erasures.
    """
    ended = await context.admin.erasure.forget(**body.model_dump(), project=context.project)
    return Reply(erasure_shape(ended))


@route("GET", "/holdfast/erasures", summary="List erasures", response_model=ErasuresShape)
async def list_erasures(
    context: Annotated[Context, Depends(allow("erasures"))],
    page: Annotated[int, Query(ge=1, le=2**31)] = 1,
    page_size: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 100,
) -> Reply:
    """The erasures of the project, the newest first."""
    found = await context.admin.erasure.listed(
        page=page, page_size=page_size, project=context.project
    )
    return Reply({"results": [erasure_shape(one) for one in found]})


@route(
    "GET",
    "/holdfast/erasures/{erasure_id}",
    summary="Get an erasure",
    response_model=ErasureShape,
)
async def get_erasure(
    erasure_id: ErasureId, context: Annotated[Context, Depends(allow("erasures"))]
) -> Reply:
    """One erasure, with its receipt once it is done."""
    found = await context.admin.erasure.status(erasure_id, project=context.project)
    return Reply(erasure_shape(found))
