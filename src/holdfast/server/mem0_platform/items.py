"""The routes of Mem0's hosted platform for memories by id, and for deleting many of them."""

from __future__ import annotations

import ast
import json
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import Field

from holdfast.errors import NotFoundError, ValidationError
from holdfast.limits import BATCH_MAX
from holdfast.model import ANY, Json
from holdfast.server.bodies import Done
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.shapes import Change, MemoryShape, change_shape, memory_shape
from holdfast.server.mem0_platform.shared import (
    IDS,
    DoneLater,
    MemoryId,
    Place,
    When,
    all_of,
    check_place,
    ids_of,
    memory_id_in,
    no_memory,
    own_metadata,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform", slashes=True)
router = route.router

_IN_PROGRESS = "Delete in progress. This may take some time."

Somewhere = Annotated[Place, Query()]


class UpdateBody(Place):
    """What is to change; what is not given stays."""

    text: Annotated[str | None, Field(examples=["Alice eats nuts again."])] = None
    metadata: Annotated[dict[str, Any] | None, Field(description="Keys to set.")] = None
    timestamp: When = None
    expiration_date: Annotated[str | None, Field(description="null clears it.")] = None


class BatchUpdate(MemoryId):
    """A change of one memory of a batch."""

    text: str | None = None
    metadata: dict[str, Any] | None = None


class BatchUpdateBody(Place):
    """Changes that are made together or not at all."""

    memories: Annotated[list[BatchUpdate], Field(min_length=1, max_length=BATCH_MAX)]


class BatchDeleteBody(Place):
    """Memories that are deleted together or not at all."""

    memories: Annotated[list[MemoryId], Field(min_length=1, max_length=BATCH_MAX)]


class DeletedOne(Done):
    """A memory that was deleted."""

    cascade_count: Annotated[
        int | None, Field(description="Linked memories deleted with it: there are no links.")
    ] = None


class DeleteQuery(Place):
    """How one memory is deleted."""

    delete_linked: Annotated[
        bool, Field(description="Its raw turns always go with it; memories have no other links.")
    ] = False


class DeleteAllQuery(Place):
    """Which memories are deleted: all conditions together, at least one of them an id."""

    user_id: Annotated[str | None, Field(description="`*` for all users.")] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    metadata: Annotated[str | None, Field(description="JSON object.")] = None
    filters: Annotated[
        str | None,
        Field(
            description="JSON object; a Python one too, which is what mem0ai 2.x sends.",
            examples=['{"user_id": "alice"}'],
        ),
    ] = None

    def wanted(self) -> dict[str, Json]:
        """The filter that these mean together. Raises ValidationError."""
        ids = ids_of(self)
        if "" in ids.values():
            raise ValidationError("An id is empty.", hint=f"Name one of {', '.join(IDS)}.")
        conditions = [ids]
        if self.metadata is not None:
            conditions.append({"metadata": written_object(self.metadata, "metadata")})
        if self.filters is not None:
            conditions.append(written_object(self.filters, "filters"))
        return all_of(*conditions)


def written_object(text: str, name: str) -> dict[str, Json]:
    """An object written as JSON or as Python literals, with something in it.

    Raises ValidationError: what cannot be read never stands for everything.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = None
    if not isinstance(value, dict) or not value:
        raise ValidationError(
            f"{name} is not an object with something in it; nothing was deleted.",
            hint='Write it like {"user_id": "alice"}.',
        )
    return value


@route("DELETE", "/v1/memories", summary="Delete memories", response_model=DoneLater)
async def delete_all(
    query: Annotated[DeleteAllQuery, Query()],
    context: Annotated[Context, Depends(allow("delete_all"))],
) -> Reply:
    """Delete every memory that matches. It is done when this answers; the event tells of it."""
    check_place(context, query)
    wanted = query.wanted()
    if not wanted:
        raise ValidationError(
            f"One of {', '.join(IDS)} or filters is required; nothing was deleted.",
            hint=f"`{ANY}` stands for all of a kind.",
        )
    done = await context.memory.delete_all(filters=wanted)
    return Reply({"message": _IN_PROGRESS, "event_id": done["event_id"]})


@route("PUT", "/v1/batch", summary="Update memories together", response_model=Done)
async def batch_update(
    body: BatchUpdateBody,
    place: Somewhere,
    context: Annotated[Context, Depends(allow("update"))],
) -> Reply:
    """Change up to 1,000 memories, all or none."""
    check_place(context, body, place)
    changes = [
        {
            "memory_id": memory_id_in(one.memory_id),
            "text": one.text,
            "metadata": own_metadata(one.metadata),
        }
        for one in body.memories
    ]
    done = await context.memory.batch_update(changes)
    return Reply({"message": done["message"]})


@route("DELETE", "/v1/batch", summary="Delete memories together", response_model=Done)
async def batch_delete(
    body: BatchDeleteBody,
    place: Somewhere,
    context: Annotated[Context, Depends(allow("delete"))],
) -> Reply:
    """Delete up to 1,000 memories, all or none."""
    check_place(context, body, place)
    ids = [{"memory_id": memory_id_in(one.memory_id)} for one in body.memories]
    done = await context.memory.batch_delete(ids)
    return Reply({"message": done["message"]})


@route("GET", "/v1/memories/{memory_id}", summary="Get a memory", response_model=MemoryShape)
async def get(
    memory_id: str, place: Somewhere, context: Annotated[Context, Depends(allow("get"))]
) -> Reply:
    """One memory."""
    check_place(context, place)
    return Reply(await _shown(context, memory_id_in(memory_id)))


@route("PUT", "/v1/memories/{memory_id}", summary="Update a memory", response_model=MemoryShape)
async def update(
    memory_id: str,
    body: UpdateBody,
    place: Somewhere,
    context: Annotated[Context, Depends(allow("update"))],
) -> Reply:
    """Change a memory; the answer is what it is then."""
    check_place(context, body, place)
    id_ = memory_id_in(memory_id)
    expiry = body.model_dump(include={"expiration_date"}, exclude_unset=True)  # null clears it
    try:
        await context.memory.update(
            id_,
            text=body.text,
            metadata=own_metadata(body.metadata),
            timestamp=body.timestamp,
            **expiry,
        )
    except NotFoundError:
        raise no_memory() from None
    return Reply(await _shown(context, id_))


@route("DELETE", "/v1/memories/{memory_id}", summary="Delete a memory", response_model=DeletedOne)
async def delete(
    memory_id: str,
    query: Annotated[DeleteQuery, Query()],
    context: Annotated[Context, Depends(allow("delete"))],
) -> Reply:
    """Delete a memory, and the raw turns it was taken from."""
    check_place(context, query)
    try:
        done = await context.memory.delete(memory_id_in(memory_id))
    except NotFoundError:
        raise no_memory() from None
    return Reply({**done, "cascade_count": 0} if query.delete_linked else done)


@route(
    "GET",
    "/v1/memories/{memory_id}/history",
    summary="Get the history of a memory",
    response_model=list[Change],
)
async def history(
    memory_id: str, place: Somewhere, context: Annotated[Context, Depends(allow("history"))]
) -> Reply:
    """Every change of a memory, the oldest first; of a deleted one too."""
    check_place(context, place)
    id_ = memory_id_in(memory_id)
    changes = await context.memory.history(id_)
    if not changes:
        raise no_memory()
    memory = await context.memory.get(id_)
    return Reply([change_shape(change, memory) for change in changes])


async def _shown(context: Context, memory_id: str) -> dict[str, Json]:
    memory = await context.memory.get(memory_id)
    if memory is None:
        raise no_memory()
    return memory_shape(memory)
