"""Our own routes to costs: the ledger of model calls, estimates, and budgets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from holdfast.core.budgets import budget_shape, status_shape
from holdfast.core.usage import report_shape
from holdfast.errors import AccessError
from holdfast.server.bodies import Done
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
    saved_usd: Annotated[
        float, Field(description="What the calls cost less, for the provider had a part of input.")
    ]
    spared_calls: Annotated[
        int, Field(description="Calls not made, for a cache of ours knew the answer.")
    ]
    spared_tokens: Annotated[int, Field(description="About what these would have taken.")]
    spared_usd: Annotated[float, Field(description="About what these would have cost.")]


class InstructionsShape(BaseModel):
    """What calls that extract facts spent on instructions."""

    calls: int
    tokens_per_call: Annotated[int, Field(description="Of our instructions, about.")]
    compared_with: str
    compared_tokens_per_call: int
    fewer_tokens: int
    fewer_usd: Annotated[
        float, Field(description="At today's price of input that no provider had in its cache.")
    ]


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
    instructions: InstructionsShape


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


class EstimateBody(BaseModel):
    """An add, as far as it decides what is asked."""

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[Any] | str, Field(examples=[[{"role": "user", "content": "Hi."}]])]
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    infer: bool = True
    prompt: str | None = None


class EstimateShape(BaseModel):
    """What an add would take."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Annotated[float | None, Field(description="About; null: a price is not known.")]
    cost_usd_max: Annotated[
        float | None, Field(description="The most its first round of questions can cost.")
    ]
    models: list[str]
    fits: Annotated[bool, Field(description="Whether the budgets have room for the most of it.")]


@route(
    "POST", "/holdfast/usage/estimate", summary="What an add would cost",
    response_model=EstimateShape,
)  # fmt: skip
async def estimate(
    body: EstimateBody, context: Annotated[Context, Depends(allow("estimate"))]
) -> Reply:
    """Nothing is stored, and no model is asked."""
    found = await context.admin.usage.estimate(project=context.project, **body.model_dump())
    return Reply({name: getattr(found, name) for name in found.__struct_fields__})


class BudgetBody(BaseModel):
    """How much calls of models may take."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[float, Field(ge=0, description="US dollars, or tokens.", examples=[25.0])]
    unit: Literal["usd", "tokens"] = "usd"
    period: Literal["day", "month"] = "month"
    at_limit: Annotated[
        Literal["warn", "degrade", "block"],
        Field(description="warn: calls go on; degrade: do without; block: refuse with 413."),
    ] = "block"
    user: Annotated[str | None, Field(max_length=512, description="Of one; * of each.")] = None
    key: Annotated[str | None, Field(max_length=512, description="Of one; * of each.")] = None


class BudgetShape(BaseModel):
    """A budget."""

    id: str
    kind: Literal["project", "user", "key"]
    subject: str | None
    period: Literal["day", "month"]
    unit: Literal["usd", "tokens"]
    amount: float
    at_limit: Literal["warn", "degrade", "block"]
    updated_at: str


class BudgetStatusShape(BudgetShape):
    """A budget, and what is spent of it in this period."""

    since: str
    ends: str
    spent: float
    held: Annotated[float, Field(description="For calls that have not told what they took.")]
    used_ratio: float


class BudgetsShape(BaseModel):
    """The budgets of a project."""

    results: list[BudgetStatusShape]


@route("GET", "/holdfast/budgets", summary="List budgets", response_model=BudgetsShape)
async def budgets(context: Annotated[Context, Depends(allow("budgets"))]) -> Reply:
    """Of those for each user or key, one line for each that has spent something."""
    found = await context.admin.budgets.listed(project=context.project)
    return Reply({"results": [status_shape(one) for one in found]})


@route("PUT", "/holdfast/budgets", summary="Set a budget", response_model=BudgetShape)
async def put_budget(
    body: BudgetBody, context: Annotated[Context, Depends(allow("change_budgets"))]
) -> Reply:
    """In place of the one of the same subject, period and unit; jobs that waited are tried again.
    Days and months are of UTC."""
    made = await context.admin.budgets.put(project=context.project, **body.model_dump())
    return Reply(budget_shape(made))


@route("DELETE", "/holdfast/budgets/{budget_id}", summary="Remove a budget", response_model=Done)
async def remove_budget(
    budget_id: Annotated[str, Path(examples=["0197a3c0-0000-7000-8000-000000000000"])],
    context: Annotated[Context, Depends(allow("change_budgets"))],
) -> Reply:
    """And what was counted for it."""
    await context.admin.budgets.remove(budget_id, project=context.project)
    return Reply({"message": "The budget is removed"})
