"""Our own routes to the ledger: what calls of models took and cost."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from holdfast.core.usage import report_shape
from holdfast.errors import AccessError
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: costs")
router = route.router

Moment = Annotated[str | None, Query(description="ISO 8601, or Unix seconds.", max_length=64)]
Id = Annotated[str | None, Query(min_length=1, max_length=512)]


class SumShape(BaseModel):
    """Calls summed."""

    model_config = ConfigDict(extra="allow")

    calls: int
    input_tokens: int
    cached_tokens: Annotated[int, Field(description="The part of input the provider had.")]
    cache_write_tokens: Annotated[
        int, Field(description="The part of input the provider put into its cache.")
    ]
    output_tokens: int
    cost_usd: Annotated[float, Field(description="Of the calls whose price is known.")]
    unpriced: Annotated[int, Field(description="Calls whose price is not known.")]


class UsageShape(BaseModel):
    """What calls took, in all and by what they have in common."""

    since: str
    before: str
    by: list[str]
    total: SumShape
    results: Annotated[
        list[SumShape], Field(description="With a field for each name of `by`; null: none.")
    ]
    left_off: Annotated[int, Field(description="Groups beyond the limit.")]


@route("GET", "/holdfast/usage", summary="What model calls cost", response_model=UsageShape)
async def usage(
    context: Annotated[Context, Depends(allow("usage"))],
    by: Annotated[
        list[str],
        Query(
            description="Any of day, month, model, operation, user, agent, app, run, key, project.",
            max_length=10,
        ),
    ] = [],  # noqa: B006  (never changed)
    since: Moment = None,
    before: Moment = None,
    user: Id = None,
    agent: Id = None,
    app: Id = None,
    run: Id = None,
    key: Id = None,
    model: Id = None,
    operation: Id = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    all_projects: Annotated[bool, Query(description="For whoever runs the server.")] = False,
) -> Reply:
    """From the ledger of the project, of the last 30 days unless told otherwise; days and months
    are of UTC. The dearest come first, those by day or month alone in their order."""
    if all_projects and not context.principal.is_root:
        raise AccessError(
            "Usage of all projects is for whoever runs this deployment.", hint="Use the admin key."
        )
    chosen = {
        "user": user, "agent": agent, "app": app, "run": run, "key": key, "model": model,
        "operation": operation,
    }  # fmt: skip
    report = await context.admin.usage.report(
        by=by,
        since=since,
        before=before,
        where={name: value for name, value in chosen.items() if value is not None},
        limit=limit,
        project=context.project,
        all_projects=all_projects,
    )
    return Reply(report_shape(report))
