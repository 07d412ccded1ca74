"""The routes of Mem0's hosted platform for exports, summaries and feedback."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends
from pydantic import BaseModel, Field

from holdfast.errors import ModelError
from holdfast.model import Json
from holdfast.server.bodies import Done
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.shared import (
    Filters,
    Named,
    Place,
    all_of,
    check_place,
    ids_of,
    memory_id_in,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform: exports and feedback", slashes=True)
router = route.router

WAIT_S = 25.0
"""How long a question for an export waits until it is made, in seconds."""

_SCHEMA = {"type": "object", "properties": {"allergies": {"type": "array"}}}


class ExportBody(Named):
    """Which memories are wanted in which form."""

    schema_: Annotated[
        dict[str, Any] | str,
        Field(alias="schema", description="A JSON Schema of an object.", examples=[_SCHEMA]),
    ]
    filters: Filters = None
    export_instructions: Annotated[
        str | None, Field(description="What a model is to heed when it fills in the form.")
    ] = None


class ExportQuestion(Named):
    """Which export is wanted: this one, or the newest with these filters."""

    memory_export_id: str | None = None
    filters: Filters = None


class SummaryBody(Named):
    """Which memories are summarised."""

    filters: Filters = None


class FeedbackBody(Place):
    """What somebody thinks of a memory."""

    memory_id: Annotated[str, Field(examples=["0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"])]
    feedback: Annotated[
        Literal["POSITIVE", "NEGATIVE", "VERY_NEGATIVE"] | None,
        Field(description="null takes an opinion back."),
    ] = None
    feedback_reason: str | None = None


class ExportMade(Done):
    """An export was ordered."""

    id: str


class Waiting(Done):
    """An export is still being made."""

    id: str
    status: Literal["PENDING"]


class Summary(BaseModel):
    """What the memories that match say."""

    summary: str
    total_memories: int
    made_by: Annotated[
        Literal["model", "digest"],
        Field(description="digest: no model is configured; the newest memories, word for word."),
    ]


class FeedbackShape(BaseModel):
    """An opinion as it is stored."""

    id: str
    feedback: str | None
    feedback_reason: str | None


@route("POST", "/v1/exports", summary="Export memories", status_code=201, response_model=ExportMade)
async def create_export(
    body: ExportBody, context: Annotated[Context, Depends(allow("create_export"))]
) -> Reply:
    """Put the memories that match into a form of your own. A language model fills it in, if one is
    configured; else memories are listed where the form has lists."""
    check_place(context, body)
    export_id = await context.admin.exports.create(
        body.schema_,
        _filters(body),
        instructions=body.export_instructions,
        project=context.project,
    )
    told = "Memory export request received. The export will be ready in a few seconds."
    return Reply({"message": told, "id": export_id}, 201)


@route(
    "POST",
    "/v1/exports/get",
    summary="Get an export",
    response_model=dict[str, Any],
    responses={202: {"model": Waiting, "description": "It is still being made."}},
)
async def get_export(
    body: ExportQuestion, context: Annotated[Context, Depends(allow("get_export"))]
) -> Reply:
    """An export: an object that fits the form. Waits a little for one that is being made."""
    check_place(context, body)
    export = await context.admin.exports.find(
        body.memory_export_id, filters=_filters(body), wait_s=WAIT_S, project=context.project
    )
    if export.state == "FAILED":
        raise ModelError(export.error or "The export failed.", hint="Ask for it again.")
    if export.state == "PENDING":
        told = export.error or "The export is being made."
        return Reply({"message": told, "id": export.id, "status": "PENDING"}, 202)
    return Reply(export.result)


@route("POST", "/v1/summary", summary="Summarise memories", response_model=list[Summary])
async def summary(
    body: SummaryBody, context: Annotated[Context, Depends(allow("summary"))]
) -> Reply:
    """What the memories that match say, in short; an empty list if there are none."""
    check_place(context, body)
    principal = context.principal
    made = await context.admin.exports.summary(
        _filters(body), project=context.project, fence=principal.fence
    )
    return Reply(made)


@route("POST", "/v1/feedback", summary="Give feedback", response_model=FeedbackShape)
async def feedback(
    body: FeedbackBody, context: Annotated[Context, Depends(allow("feedback"))]
) -> Reply:
    """Say what you think of a memory, in place of what you thought before."""
    check_place(context, body)
    given = await context.admin.exports.give_feedback(
        memory_id_in(body.memory_id),
        body.feedback,
        body.feedback_reason,
        project=context.project,
        fence=context.principal.fence,
    )
    return Reply({"id": given.id, "feedback": given.feedback, "feedback_reason": given.reason})


def _filters(body: ExportBody | ExportQuestion | SummaryBody) -> dict[str, Json]:
    """The filter of a call: its `filters`, and the ids that older clients name at the top."""
    return all_of(ids_of(body), body.filters)
