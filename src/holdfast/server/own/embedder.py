"""Our own routes to changing the embedder: status, change, cut-over, roll-back, finish."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field

from holdfast.admin.embedders import ChangeWork
from holdfast.clock import iso
from holdfast.engine.reembedding import ChangeLimits, Switched
from holdfast.model import Json
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: embedder")
router = route.router

Above = Annotated[float | None, Field(gt=0)]


class EmbedderChangeBody(BaseModel):
    """How fast vectors are made, and for how much money."""

    model_config = ConfigDict(extra="forbid")

    texts_per_second: Above = None
    requests_per_minute: Above = None
    budget_usd: Above = None


class SpaceShape(BaseModel):
    """One embedder whose vectors the store has."""

    embedder: Annotated[str, Field(examples=["openai:text-embedding-3-small"])]
    dimensions: int
    status: Literal["active", "shadow", "retired"]
    memories: Annotated[int, Field(description="With a vector of the embedder searched.")]
    missing: Annotated[int, Field(description="Of these, without one of this embedder.")]
    configured: Annotated[bool, Field(description="In the process that answers.")]


class ChangedShape(BaseModel):
    """How making vectors ended."""

    state: Literal["filled", "budget_spent"]
    embedder: str
    texts: int
    requests: int
    missing: int
    cost_usd: float


class ChangeWorkShape(BaseModel):
    """Vectors made in the background of the process that answers."""

    state: Literal["RUNNING", "SUCCEEDED", "BUDGET_SPENT", "FAILED", "CANCELLED"]
    done: int
    total: int
    cost_usd: float
    started_at: str
    ended_at: str | None
    result: ChangedShape | None
    error: Annotated[str | None, Field(examples=["MODEL_UNAVAILABLE"])]


class EmbedderShape(BaseModel):
    """How the change of an embedder stands."""

    epoch: int
    spaces: list[SpaceShape]
    work: ChangeWorkShape | None


class SwitchedShape(BaseModel):
    """Whose vectors are searched now, and whose were."""

    embedder: str
    before: str
    epoch: int


class FinishedShape(BaseModel):
    """What was deleted."""

    deleted: Annotated[int, Field(description="Vectors.")]


@route("GET", "/holdfast/embedder", summary="How the change stands", response_model=EmbedderShape)
async def embedder_status(context: Annotated[Context, Depends(allow("embedder"))]) -> Reply:
    """The embedders of the whole deployment. Costs a scan of the store."""
    status = await context.admin.embedder.status()
    spaces = [_fields(each) for each in status.spaces]
    work = _work(context.admin.embedder.work)
    return Reply({"epoch": status.epoch, "spaces": spaces, "work": work})


@route(
    "POST",
    "/holdfast/embedder/change",
    summary="Make the vectors of the new embedder",
    status_code=202,
    response_model=ChangeWorkShape,
)
async def change_embedder(
    body: EmbedderChangeBody, context: Annotated[Context, Depends(allow("change_embedder"))]
) -> Reply:
    """Begins in the background of the process that answers; the status tells how it goes. One that
    was interrupted goes on."""
    limits = ChangeLimits(**body.model_dump())
    return Reply(_work(await context.admin.embedder.begin(limits)), 202)


@route(
    "POST",
    "/holdfast/embedder/cutover",
    summary="Search with the new embedder",
    response_model=SwitchedShape,
)
async def cut_embedder_over(
    context: Annotated[Context, Depends(allow("change_embedder"))],
) -> Reply:
    """Every instance does from then on. 409 while vectors are missing. With an external index this
    takes as long as filling its new collection: rather use the command line then."""
    return Reply(_switched(await context.admin.embedder.cutover()))


@route(
    "POST",
    "/holdfast/embedder/rollback",
    summary="Search with the embedder before again",
    response_model=SwitchedShape,
)
async def roll_embedder_back(
    context: Annotated[Context, Depends(allow("change_embedder"))],
) -> Reply:
    """The vectors of what was written since the cut-over are made first."""
    return Reply(_switched(await context.admin.embedder.rollback()))


@route(
    "POST",
    "/holdfast/embedder/finish",
    summary="Delete vectors that are not searched any more",
    response_model=FinishedShape,
)
async def finish_embedder(
    context: Annotated[Context, Depends(allow("change_embedder"))],
) -> Reply:
    """409 while a change is under way. Going back then costs embedding anew."""
    return Reply({"deleted": await context.admin.embedder.finish()})


def _switched(switched: Switched) -> dict[str, Json]:
    return _fields(switched)


def _fields(value: object) -> dict[str, Json]:
    return {name: getattr(value, name) for name in type(value).__struct_fields__}  # type: ignore[attr-defined]


def _work(work: ChangeWork | None) -> dict[str, Json] | None:
    if work is None:
        return None
    return {
        "state": work.state,
        **_fields(work.progress),
        "started_at": iso(work.started_at),
        "ended_at": iso(work.ended_at),
        "result": None if work.result is None else _fields(work.result),
        "error": work.error,
    }
