"""Our own routes to the audit: its rows, their verification, what is kept of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from holdfast.core.audit_shapes import as_csv, as_jsonl, row_shape
from holdfast.errors import AccessError
from holdfast.limits import ID_CHARS_MAX, PAGE_SIZE_MAX
from holdfast.server.context import Context, allow
from holdfast.server.own.admin import Named, project_of
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes
from holdfast.trail import Anchor, AuditRow, Verdict

route = Routes("Holdfast: audit")
router = route.router

EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        },
        "description": "The rows: one JSON object a line, or CSV with a line of names first.",
    }
}
"""What an export is, in either format: no JSON document."""

Text = Annotated[str | None, Query(max_length=ID_CHARS_MAX)]
All = Annotated[bool, Query(description="Of all projects; for whoever runs the server.")]


class RowShape(BaseModel):
    """Who did what, on whose memories, from where, with what outcome; no content."""

    model_config = ConfigDict(extra="allow")

    no: Annotated[int, Field(description="Gapless in the project.")]
    time: str
    action: str
    sort: Literal["read", "write", "admin"]
    outcome: Literal["ok", "begun", "denied", "failed"]
    code: str | None
    principal: str
    user_id: str | None
    target: str | None
    request_id: str
    hash: str


class RowsShape(BaseModel):
    """A page of rows."""

    results: list[RowShape]
    cursor: Annotated[int | None, Field(description="Where the next page begins.")]


class AnchorShape(BaseModel):
    """A row that is kept elsewhere."""

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(max_length=ID_CHARS_MAX)]
    no: Annotated[int, Field(ge=1, le=2**62)]
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class HeadsShape(BaseModel):
    """The last rows of chains."""

    results: list[AnchorShape]


class AuditVerifyBody(BaseModel):
    """What the chain is compared with."""

    model_config = ConfigDict(extra="forbid")

    anchors: Annotated[
        list[AnchorShape], Field(max_length=1_000, description="Heads that were kept elsewhere.")
    ] = []


class FaultShape(BaseModel):
    """What is wrong first."""

    project: str
    no: int
    kind: Literal["changed", "removed", "swapped", "inserted", "head", "anchor", "key"]
    told: str


class VerdictShape(BaseModel):
    """What came of looking through a chain."""

    project: str
    good: bool
    rows: int
    first_no: int
    last_no: int
    last_hash: str
    keyed: Annotated[str, Field(examples=["store", "sealed"])]
    fault: FaultShape | None


class VerdictsShape(BaseModel):
    """The same of each chain."""

    results: list[VerdictShape]


class PruneBody(BaseModel):
    """What is deleted."""

    model_config = ConfigDict(extra="forbid")

    before: Annotated[
        str | float | None,
        Field(description="ISO 8601, or Unix seconds; default: as `audit_days` says."),
    ] = None


class PrunedShape(BaseModel):
    """How many rows were deleted."""

    pruned: int


class Asked:
    """The conditions of a question, as a route's parameters."""

    def __init__(
        self,
        principal: Text = None,
        user_id: Text = None,
        agent_id: Text = None,
        app_id: Text = None,
        run_id: Text = None,
        action: Text = None,
        sort: Literal["read", "write", "admin"] | None = None,
        outcome: Literal["ok", "begun", "denied", "failed"] | None = None,
        target: Text = None,
        request_id: Text = None,
        since: Text = None,
        before: Text = None,
    ) -> None:
        self.conditions: dict[str, Any] = {
            "principal": principal,
            "user_id": user_id,
            "agent_id": agent_id,
            "app_id": app_id,
            "run_id": run_id,
            "action": action,
            "sort": sort,
            "outcome": outcome,
            "target": target,
            "request_id": request_id,
            "since": since,
            "before": before,
        }


@route("GET", "/holdfast/audit", summary="Who did what", response_model=RowsShape)
async def list_audit(
    context: Annotated[Context, Depends(allow("audit"))],
    asked: Annotated[Asked, Depends()],
    size: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 100,
    cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    project: Named = None,
) -> Reply:
    """Rows of the project that fulfil all conditions, the newest first."""
    page = await context.admin.audit.listed(
        **asked.conditions, size=size, cursor=cursor, project=project_of(context, project)
    )
    return Reply({"results": [row_shape(row) for row in page.rows], "cursor": page.cursor})


@route(
    "GET",
    "/holdfast/audit/export",
    summary="Export the audit",
    response_class=StreamingResponse,
    responses=EXPORTED,
)
async def export_audit(
    context: Annotated[Context, Depends(allow("audit"))],
    asked: Annotated[Asked, Depends()],
    format: Literal["jsonl", "csv"] = "jsonl",  # noqa: A002  (the name of the parameter)
    project: Named = None,
) -> StreamingResponse:
    """All rows of the project that fulfil the conditions, the oldest first."""
    pages = await context.admin.audit.export(
        **asked.conditions, project=project_of(context, project)
    )
    if format == "csv":
        return StreamingResponse(_csv(pages), media_type="text/csv; charset=utf-8")
    return StreamingResponse(_jsonl(pages), media_type="application/x-ndjson")


@route(
    "GET", "/holdfast/audit/head", summary="The last row of the audit", response_model=HeadsShape
)
async def audit_head(
    context: Annotated[Context, Depends(allow("audit"))],
    project: Named = None,
    everywhere: All = False,
) -> Reply:
    """To be kept elsewhere: it shows later that nothing up to there was rewritten or cut off."""
    found = await context.admin.audit.heads(project=_where(context, project, everywhere))
    shown = [{"project": one.project, "no": one.no, "hash": one.hash} for one in found]
    return Reply({"results": shown})


@route(
    "POST",
    "/holdfast/audit/verify",
    summary="Whether the audit was meddled with",
    response_model=VerdictsShape,
)
async def verify_audit(
    body: AuditVerifyBody,
    context: Annotated[Context, Depends(allow("audit"))],
    project: Named = None,
    everywhere: All = False,
) -> Reply:
    """Looks at every row: changed, removed, swapped and inserted ones are found."""
    where = _where(context, project, everywhere)
    mine = [Anchor(one.project, one.no, one.hash) for one in body.anchors]
    anchors = [one for one in mine if where in (None, one.project)]
    verdicts = await context.admin.audit.verify(project=where, anchors=anchors)
    return Reply({"results": [_verdict(one) for one in verdicts]})


@route(
    "POST",
    "/holdfast/audit/prune",
    summary="Delete old rows of the audit",
    response_model=PrunedShape,
)
async def prune_audit(
    body: PruneBody,
    context: Annotated[Context, Depends(allow("prune_audit"))],
    project: Named = None,
    everywhere: All = False,
) -> Reply:
    """The chain begins behind them from then on, and verifies as before."""
    where = _where(context, project, everywhere)
    return Reply({"pruned": await context.admin.audit.prune(before=body.before, project=where)})


def _where(context: Context, project: str | None, everywhere: bool) -> str | None:
    """Raises AccessError, NotFoundError for what the caller may not know of."""
    if not everywhere:
        return project_of(context, project)
    if not context.principal.is_root:
        raise AccessError("All projects are for whoever runs the server.", hint="Leave it out.")
    return None


def _verdict(verdict: Verdict) -> dict[str, Any]:
    shape = {name: getattr(verdict, name) for name in verdict.__struct_fields__}
    return {**shape, "good": verdict.is_good}


async def _jsonl(pages: AsyncIterator[Sequence[AuditRow]]) -> AsyncIterator[str]:
    async for rows in pages:
        yield as_jsonl(rows)


async def _csv(pages: AsyncIterator[Sequence[AuditRow]]) -> AsyncIterator[str]:
    yield as_csv((), header=True)
    async for rows in pages:
        yield as_csv(rows, header=False)
