"""Our own routes to the external index: its status, verification, repair and rebuilding."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field

from holdfast.admin.indexes import IndexWork
from holdfast.clock import iso
from holdfast.engine.reindexing import IndexStatus
from holdfast.model import Json
from holdfast.server.bodies import Done
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: index")
router = route.router


class IndexVerifyBody(BaseModel):
    """How the index is compared with the records."""

    model_config = ConfigDict(extra="forbid")

    repair: Annotated[bool, Field(description="Mend what differs.")] = False


class WorkShape(BaseModel):
    """Work on the index in the background of the process that answers."""

    kind: Literal["verify", "repair", "rebuild", "rebalance"]
    state: Literal["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    done: Annotated[int, Field(description="Memories looked at.")]
    total: int
    started_at: str
    ended_at: str | None
    result: Annotated[
        dict[str, int] | None,
        Field(
            description="Of a comparison: memories, points, missing, stale, extra. Of a"
            " rebalancing: memories, moved."
        ),
    ]
    error: Annotated[str | None, Field(examples=["INDEX_UNAVAILABLE"])]


class IndexShape(BaseModel):
    """How the index stands."""

    name: Annotated[str, Field(examples=["qdrant:holdfast"])]
    external: bool
    reachable: bool
    error: Annotated[str | None, Field(examples=["INDEX_UNAVAILABLE"])]
    build: Annotated[int, Field(description="Number of the collection that is searched.")]
    building: Annotated[int | None, Field(description="Of the one that is built anew.")]
    memories: Annotated[int, Field(description="In the records, of all projects.")]
    shards_away: Annotated[list[str], Field(description="Shards that do not answer, or are lost.")]
    points: Annotated[int | None, Field(description="In the index, if it answers.")]
    optimizing: Annotated[
        int | None,
        Field(description="Of them are in a graph that is being made; null if none is."),
    ]
    projects_behind: Annotated[int, Field(description="Projects of which it lacks something.")]
    generations_behind: Annotated[int, Field(description="Transactions it lacks of the worst.")]
    work: WorkShape | None


@route("GET", "/holdfast/index", summary="How the index stands", response_model=IndexShape)
async def index_status(context: Annotated[Context, Depends(allow("index"))]) -> Reply:
    """The index of the whole deployment. Costs a scan of the store."""
    status = await context.admin.index.status()
    return Reply({**_status(status), "work": _work(context.admin.index.work)})


@route(
    "POST",
    "/holdfast/index/verify",
    summary="Compare the index with the records",
    status_code=202,
    response_model=WorkShape,
)
async def verify_index(
    body: IndexVerifyBody, context: Annotated[Context, Depends(allow("change_index"))]
) -> Reply:
    """Begins in the background of the process that answers; the status tells how it goes."""
    return Reply(_work(await context.admin.index.begin("repair" if body.repair else "verify")), 202)


@route(
    "POST",
    "/holdfast/index/rebuild",
    summary="Build the index anew",
    status_code=202,
    response_model=WorkShape,
)
async def rebuild_index(context: Annotated[Context, Depends(allow("change_index"))]) -> Reply:
    """Begins in the background of the process that answers, beside the index that is searched; the
    status tells how it goes. One that was interrupted goes on."""
    return Reply(_work(await context.admin.index.begin("rebuild")), 202)


@route("DELETE", "/holdfast/index/rebuild", summary="Give up building anew", response_model=Done)
async def discard_index(context: Annotated[Context, Depends(allow("change_index"))]) -> Reply:
    """Stops a rebuild of the process that answers, and drops what it, or one that was interrupted,
    made."""
    dropped = await context.admin.index.discard()
    return Reply({"message": "The new collection is dropped." if dropped else "There is none."})


@route(
    "POST",
    "/holdfast/index/rebalance",
    summary="Move memories to the shards they belong to",
    status_code=202,
    response_model=WorkShape,
)
async def rebalance_index(context: Annotated[Context, Depends(allow("change_index"))]) -> Reply:
    """Begins in the background of the process that answers, while everybody works; the status
    tells how it goes. It fails with UNSUPPORTED if the index is not sharded. Every instance must
    have been started with the new configuration before. One that was interrupted goes on."""
    return Reply(_work(await context.admin.index.begin("rebalance")), 202)


def _status(status: IndexStatus) -> dict[str, Json]:
    return {name: getattr(status, name) for name in status.__struct_fields__}


def _work(work: IndexWork | None) -> dict[str, Json] | None:
    if work is None:
        return None
    shape = {name: getattr(work, name) for name in work.__struct_fields__}
    result = work.result
    return shape | {
        "started_at": iso(work.started_at),
        "ended_at": iso(work.ended_at),
        "result": None
        if result is None
        else {name: getattr(result, name) for name in result.__struct_fields__},
    }
