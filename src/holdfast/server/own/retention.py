"""Our own routes to retention: rules by which what is old is removed for good."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: retention")
router = route.router

Days = Annotated[float, Field(ge=0, le=36_500)]


class RulesBody(BaseModel):
    """Rules to set."""

    model_config = ConfigDict(extra="forbid")

    rules: Annotated[
        dict[str, Days | None],
        Field(description="Days by rule; null takes one away.", examples=[{"turns": 90}]),
    ]


class RulesShape(BaseModel):
    """The rules of a project, those of the configuration too."""

    rules: Annotated[dict[str, float], Field(description="Days by rule.")]


class RunBody(BaseModel):
    """Whether anything is to be removed."""

    model_config = ConfigDict(extra="forbid")

    dry_run: Annotated[bool, Field(description="Count what would go; change nothing.")] = False


class RemovedShape(BaseModel):
    """What is older than the rules allow."""

    rows: Annotated[dict[str, int], Field(description="How many, by rule.")]
    removed: bool


@route("GET", "/holdfast/retention", summary="List rules of retention", response_model=RulesShape)
async def rules(context: Annotated[Context, Depends(allow("retention"))]) -> Reply:
    """Nothing is removed for its age where no rule says so."""
    return Reply({"rules": await context.admin.retention.rules(project=context.project)})


@route("PUT", "/holdfast/retention", summary="Set rules of retention", response_model=RulesShape)
async def set_rules(
    body: RulesBody, context: Annotated[Context, Depends(allow("change_retention"))]
) -> Reply:
    """Those that are named; others stay. They are heeded within the hour, or by a run."""
    kept = await context.admin.retention.set(body.rules, project=context.project)
    return Reply({"rules": kept})


@route(
    "DELETE", "/holdfast/retention/{rule}", summary="Remove a rule of retention",
    response_model=RulesShape,
)  # fmt: skip
async def remove_rule(
    rule: Annotated[str, Path(examples=["turns"], max_length=64)],
    context: Annotated[Context, Depends(allow("change_retention"))],
) -> Reply:
    """One of the configuration stays."""
    kept = await context.admin.retention.set({rule: None}, project=context.project)
    return Reply({"rules": kept})


@route(
    "POST", "/holdfast/retention/run", summary="Remove what is older than the rules allow",
    response_model=RemovedShape,
)  # fmt: skip
async def run_rules(
    body: RunBody, context: Annotated[Context, Depends(allow("change_retention"))]
) -> Reply:
    """Now, for good. Counting alone costs a scan of what the rules are for."""
    face = context.admin.retention
    work = face.due if body.dry_run else face.run
    rows = await work(project=context.project)
    return Reply({"rows": rows, "removed": not body.dry_run})
