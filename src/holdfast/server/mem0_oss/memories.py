"""The routes of Mem0's open-source server for memories: no version, no slash at the end."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AliasChoices, Field
from starlette.responses import RedirectResponse, Response

from holdfast.core.access import decide
from holdfast.errors import ValidationError
from holdfast.limits import PAGE_SIZE_MAX, TOP_K_MAX
from holdfast.model import ENTITY_KINDS, UNSET, Json
from holdfast.server import problems, upstream
from holdfast.server.bodies import Body, Done, IdempotencyKey
from holdfast.server.context import Context, allow
from holdfast.server.mem0_oss.shapes import (
    Kind,
    OssAdded,
    OssChange,
    OssEntity,
    OssHits,
    OssMemories,
    OssMemory,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 open source")
router = route.router

ENTITIES_MAX = 10_000
"""Users, agents, apps and runs in one listing."""

_NOBODY = "At least one identifier (user_id, agent_id, run_id) is required."
_EXTRACTION_FAILED = (
    "The language model failed: the turns are stored, no facts were extracted. Its event tells why."
)
_ANYBODY = {"OR": [{f"{kind}_id": "*"} for kind in ENTITY_KINDS]}
_ROW = ("id", "memory", "user_id", "agent_id", "app_id", "run_id", "hash", "expiration_date",
        "metadata", "created_at", "updated_at")  # fmt: skip

Id = Annotated[str | None, Query(examples=["alice"])]


class Message(Body):
    """One turn of a conversation."""

    role: Annotated[str, Field(examples=["user"])]
    content: Annotated[str | list[Any], Field(examples=["I am allergic to nuts."])]
    name: str | None = None
    timestamp: str | float | None = None


class Ids(Body):
    """Whose memories."""

    user_id: Annotated[str | None, Field(examples=["alice"])] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None

    def named(self) -> dict[str, Any]:
        """Those that are given."""
        return _given(self.user_id, self.agent_id, self.app_id, self.run_id)


class OssAddBody(Ids):
    """A conversation to remember."""

    messages: list[Message]
    metadata: dict[str, Any] | None = None
    expiration_date: Annotated[str | None, Field(examples=["2030-12-31"])] = None
    infer: bool = True
    memory_type: str | None = None
    prompt: str | None = None


class OssSearchBody(Ids):
    """A question; the ids are joined to the filters."""

    query: Annotated[str, Field(min_length=1, examples=["What may I not eat?"])]
    filters: Annotated[dict[str, Any] | None, Field(examples=[{"user_id": "alice"}])] = None
    top_k: Annotated[
        int, Field(ge=1, le=TOP_K_MAX, validation_alias=AliasChoices("top_k", "limit"))
    ] = 20
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    rerank: bool = False
    explain: bool = False
    reference_date: str | float | None = None
    show_expired: bool = False


class OssUpdateBody(Body):
    """What is to change; an expiration_date of null clears it."""

    text: Annotated[
        str | None,
        Field(validation_alias=AliasChoices("text", "data"), examples=["I like green tea."]),
    ] = None
    metadata: dict[str, Any] | None = None
    expiration_date: str | None = None


@router.get("/", include_in_schema=False)
async def home() -> Response:
    """To the documentation."""
    return RedirectResponse("/docs", 307)


@route("POST", "/memories", summary="Add memories", response_model=OssAdded)
async def add(
    body: OssAddBody,
    request: Request,
    context: Annotated[Context, Depends(allow("add"))],
    idempotency_key: IdempotencyKey = None,
) -> Reply:
    """Remember a conversation; answers when the facts are extracted.

    While the model is away the status is PENDING: the turns are stored, the facts come later.
    """
    if not body.named():
        raise ValidationError(_NOBODY)
    await context.count_user(body.user_id)
    added = await context.memory.add(
        [message.model_dump(exclude_none=True) for message in body.messages],
        **body.named(),
        metadata=body.metadata,
        expiration_date=body.expiration_date,
        infer=body.infer,
        memory_type=body.memory_type,
        prompt=body.prompt,
        idempotency_key=idempotency_key,
    )
    if added.get("status") == "FAILED":
        code = upstream.code_named(added.get("error_code"))
        told = upstream.body(code, _EXTRACTION_FAILED, problems.request_id(request))
        return Reply({**added, **told}, upstream.STATUS)
    return Reply(added)


@route("GET", "/memories", summary="List memories", response_model=OssMemories)
async def get_all(
    context: Annotated[Context, Depends(allow("get_all"))],
    user_id: Id = None,
    agent_id: Id = None,
    app_id: Id = None,
    run_id: Id = None,
    top_k: Annotated[int, Query(ge=0, le=PAGE_SIZE_MAX)] = 20,
    show_expired: bool = False,
) -> Reply:
    """The memories of all the ids together, newest first; without an id, an administrator's view
    of the whole project: its newest thousand."""
    ids = _given(user_id, agent_id, app_id, run_id)
    if not ids:
        decide(context.principal, "list_everything")
        return Reply({"results": await _rows(context)})
    found = await context.memory.get_all(
        filters=ids, top_k=max(1, top_k), show_expired=show_expired
    )
    return Reply({"results": found["results"][:top_k]})


@route("GET", "/memories/{memory_id}", summary="Get a memory", response_model=OssMemory | None)
async def get(memory_id: str, context: Annotated[Context, Depends(allow("get"))]) -> Reply:
    """One memory; null if there is none."""
    return Reply(await context.memory.get(memory_id))


@route("PUT", "/memories/{memory_id}", summary="Change a memory", response_model=Done)
async def update(
    memory_id: str, body: OssUpdateBody, context: Annotated[Context, Depends(allow("update"))]
) -> Reply:
    """Set its text, add to its metadata, set or clear its expiration."""
    cleared = "expiration_date" in body.model_fields_set
    changed = await context.memory.update(
        memory_id,
        text=body.text,
        metadata=body.metadata,
        expiration_date=body.expiration_date if cleared else UNSET,
    )
    return Reply(changed)


@route("DELETE", "/memories/{memory_id}", summary="Delete a memory", response_model=Done)
async def delete(memory_id: str, context: Annotated[Context, Depends(allow("delete"))]) -> Reply:
    """Delete one memory, with what was said in it."""
    await context.memory.delete(memory_id)
    return Reply({"message": "Memory deleted successfully"})


@route("DELETE", "/memories", summary="Delete somebody's memories", response_model=Done)
async def delete_all(
    context: Annotated[Context, Depends(allow("purge"))],
    user_id: Id = None,
    agent_id: Id = None,
    app_id: Id = None,
    run_id: Id = None,
) -> Reply:
    """Delete the memories of all the ids together; never everything."""
    ids = _given(user_id, agent_id, app_id, run_id)
    if not ids:
        raise ValidationError(_NOBODY)
    await context.memory.delete_all(**ids)
    return Reply({"message": "All relevant memories deleted"})


@route(
    "GET",
    "/memories/{memory_id}/history",
    summary="Changes of a memory",
    response_model=list[OssChange],
)
async def history(memory_id: str, context: Annotated[Context, Depends(allow("history"))]) -> Reply:
    """Every change, oldest first."""
    return Reply(await context.memory.history(memory_id))


@route("POST", "/search", summary="Search memories", response_model=OssHits)
async def search(
    body: OssSearchBody, context: Annotated[Context, Depends(allow("search"))]
) -> Reply:
    """The memories that answer a question, best first."""
    filters = joined(body.filters, body.named())
    await context.count_user(filters.get("user_id"))
    found = await context.memory.search(
        body.query,
        filters=filters,
        top_k=body.top_k,
        threshold=UNSET if body.threshold is None else body.threshold,
        rerank=body.rerank,
        explain=body.explain,
        reference_date=body.reference_date,
        show_expired=body.show_expired,
    )
    return Reply(found)


@route("POST", "/reset", summary="Delete everything", response_model=Done)
async def reset(context: Annotated[Context, Depends(allow("reset"))]) -> Reply:
    """Delete every memory of the project."""
    await context.memory.reset()
    return Reply({"message": "All memories reset"})


@route("GET", "/entities", summary="Who has memories", response_model=list[OssEntity])
async def entities(context: Annotated[Context, Depends(allow("entities"))]) -> Reply:
    """Users, agents, apps and runs with the number of their memories, at most ten thousand."""
    found: list[Json] = []
    for page in range(1, ENTITIES_MAX // PAGE_SIZE_MAX + 1):
        answer = await context.memory.entities(page=page, page_size=PAGE_SIZE_MAX)
        found += answer["results"]
        if len(found) >= answer["total"]:
            break
    rows = [_entity(one) for one in found]
    return Reply(sorted(rows, key=lambda row: (row["type"], row["id"])))


@route(
    "DELETE",
    "/entities/{kind}/{entity_id:path}",
    summary="Delete an entity's memories",
    response_model=Done,
)
async def delete_entity(
    kind: Kind, entity_id: str, context: Annotated[Context, Depends(allow("purge"))]
) -> Reply:
    """Delete every memory of a user, agent, app or run."""
    named: dict[str, Any] = {f"{kind}_id": entity_id}  # "*" is refused here, and not in filters
    await context.memory.delete_all(**named)
    return Reply({"message": "Entity deleted"})


def joined(filters: dict[str, Any] | None, ids: dict[str, Any]) -> dict[str, Any]:
    """A filter that asks for both; the ids never widen what the filter says."""
    if not filters:
        return dict(ids)
    if filters.keys() & ids.keys():
        return {"AND": [filters, ids]}
    return {**filters, **ids}


def _given(
    user_id: str | None, agent_id: str | None, app_id: str | None, run_id: str | None
) -> dict[str, Any]:
    named = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
    return {name: value for name, value in named.items() if value}


async def _rows(context: Context) -> list[dict[str, Json]]:
    found = await context.memory.get_all(filters=_ANYBODY, top_k=PAGE_SIZE_MAX, show_expired=True)
    return [{name: memory.get(name) for name in _ROW} for memory in found["results"]]


def _entity(found: dict[str, Json]) -> dict[str, Json]:
    return {
        "id": found["name"],
        "type": found["type"],
        "total_memories": found["total_memories"],
        "created_at": found["created_at"],
        "updated_at": found["updated_at"],
    }
