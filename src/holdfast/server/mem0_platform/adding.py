"""The routes of Mem0's hosted platform that add memories, say who calls (ping), and count."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from holdfast.core.outcome import HELD
from holdfast.errors import UnsupportedError, ValidationError
from holdfast.model import ENTITY_KINDS, Json
from holdfast.server.bodies import IdempotencyKey
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.shapes import result_shape
from holdfast.server.mem0_platform.shared import (
    ORGANISATION,
    Filters,
    Named,
    Place,
    When,
    check_place,
    in_zone,
    own_metadata,
    refuse_unoffered,
    scope_for_writing,
)
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 platform", slashes=True)
router = route.router

_QUEUED = "Memory processing has been queued for background execution"
_STORED = "Memories stored successfully"
_FAILED = "The messages are kept; the model's part was given up"


class AddBody(Named):
    """A conversation to remember, and whose it is: at the top, or in `filters`."""

    messages: Annotated[
        str | dict[str, Any] | list[Any],
        Field(
            description="`{role, content, name?}` each; a `name` becomes the actor.",
            examples=[[{"role": "user", "content": "I am allergic to nuts."}]],
        ),
    ]
    filters: Filters = None
    metadata: Annotated[dict[str, Any] | None, Field(examples=[{"source": "chat"}])] = None
    infer: Annotated[
        bool, Field(description="False: keep each message as it is, and wait for that.")
    ] = True
    async_mode: Annotated[bool, Field(description="False: wait until it is done.")] = True
    wait: Annotated[bool, Field(description="True: wait until it is done.")] = False
    expiration_date: Annotated[str | None, Field(examples=["2030-01-01"])] = None
    timestamp: Annotated[When, Field(description="When it was said.")] = None
    observation_date: Annotated[When, Field(description="The same as timestamp.")] = None
    timezone: Annotated[
        str | None, Field(description="Zone of a time without one.", examples=["Europe/Vienna"])
    ] = None
    custom_instructions: str | None = None
    agent_custom_instructions: Annotated[
        str | None, Field(description="Instructions that hold where an agent is named.")
    ] = None
    includes: Annotated[str | None, Field(description="What to remember.")] = None
    excludes: Annotated[str | None, Field(description="What not to remember.")] = None
    custom_categories: Annotated[
        list[Any] | None, Field(examples=[[{"food": "What they eat."}]])
    ] = None
    memory_type: Annotated[str | None, Field(examples=["procedural_memory"])] = None
    output_format: Annotated[str | None, Field(description='v1: "v1.1" for an object.')] = None
    categories: Annotated[
        list[str] | None,
        Field(description="Categories of what is made of it.", examples=[["food"]]),
    ] = None
    immutable: Annotated[
        bool | None, Field(description="True: never changed or superseded, only deleted.")
    ] = None
    trust: Annotated[
        Literal["trusted", "untrusted"] | None,
        Field(description="untrusted: held until somebody approves it; messages may say it too."),
    ] = None
    enable_graph: Annotated[bool | None, Field(description="True is refused.")] = None
    temporal_reasoning: Annotated[
        bool | None, Field(description="False: the model is not asked when things happened.")
    ] = None
    structured_data_schema: Annotated[Any, Field(description="Refused.")] = None
    prompt_profile_id: Annotated[str | None, Field(description="Refused.")] = None

    def instructions(self, *, of_agent: bool) -> str | None:
        """What the model is told about this add; None if nothing is."""
        lines = (
            ("", self.custom_instructions),
            ("", self.agent_custom_instructions if of_agent else None),
            ("Remember what concerns: ", self.includes),
            ("Do not remember what concerns: ", self.excludes),
        )
        told = [f"{lead}{text.strip()}" for lead, text in lines if text and text.strip()]
        return "\n".join(told) or None


class AddedItem(BaseModel):
    """What became of a message or fact; NONE: it was known; HELD: it waits for approval, and the
    id is that of the held add."""

    id: str | None = None
    memory: str | None = None
    event: Annotated[str | None, Field(examples=["ADD"])] = None
    data: dict[str, Any] | None = None


class Added(BaseModel):
    """What became of an add; `/v1/event/{event_id}/` tells how it goes on."""

    message: str
    status: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]
    event_id: str
    results: Annotated[
        list[AddedItem] | None, Field(description="Once it is done; before, what is held.")
    ] = None
    error: str | None = None
    error_code: str | None = None


class AddedEarlier(AddedItem):
    """An item of v1's answer: what was made, or the event that will tell."""

    message: str | None = None
    status: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]
    event_id: str


class AddedEarlierResults(BaseModel):
    """v1's answer with `output_format` v1.1."""

    results: list[AddedEarlier]


@route("POST", "/v3/memories/add", summary="Add memories", response_model=Added)
async def add(
    body: AddBody,
    context: Annotated[Context, Depends(allow("add"))],
    idempotency_key: IdempotencyKey = None,
) -> Reply:
    """Remember a conversation. Its messages are durable and searchable when this answers; what a
    model makes of them comes later, unless told to wait."""
    return Reply(await _added(body, context, idempotency_key))


@route(
    "POST",
    "/v1/memories",
    summary="Add memories (v1)",
    response_model=AddedEarlierResults | list[AddedEarlier],
)
async def add_v1(
    body: AddBody,
    context: Annotated[Context, Depends(allow("add"))],
    idempotency_key: IdempotencyKey = None,
) -> Reply:
    """The same for clients before 2.0."""
    added = await _added(body, context, idempotency_key)
    common = {"status": added["status"], "event_id": added["event_id"]}
    items = [{**item, **common} for item in added.get("results", ())]
    if added["status"] != "SUCCEEDED":
        items.append({"message": added["message"], **common})
    return Reply({"results": items} if body.output_format == "v1.1" else items)


async def _added(body: AddBody, context: Context, key: str | None) -> dict[str, Json]:
    check_place(context, body)
    refuse_unoffered(body)
    scope = scope_for_writing(body, body.filters)
    await context.count_user(scope.user_id)
    said = body.timestamp if body.timestamp is not None else body.observation_date
    try:
        told = await context.memory.add(
            body.messages,
            user_id=scope.user_id,
            agent_id=scope.agent_id,
            app_id=scope.app_id,
            run_id=scope.run_id,
            metadata=own_metadata(body.metadata),
            timestamp=in_zone(said, body.timezone),
            expiration_date=body.expiration_date,
            infer=body.infer,
            memory_type=body.memory_type,
            prompt=body.instructions(of_agent=scope.agent_id is not None),
            categories=body.categories,
            custom_categories=body.custom_categories,
            immutable=bool(body.immutable),
            temporal_reasoning=body.temporal_reasoning is not False,
            idempotency_key=key,
            wait=False,
            trust=body.trust,
        )
    except UnsupportedError as error:  # clients take a 5xx for a failure of the server
        raise ValidationError(error.message, hint=error.hint) from None
    waits = body.wait or not body.async_mode or not body.infer
    if waits and told["status"] in ("PENDING", "RUNNING"):
        told = await context.memory.wait(told["event_id"])
        told = {**told, "event_id": told["id"]}
    return _outcome(told)


def _outcome(told: dict[str, Json]) -> dict[str, Json]:
    status = told["status"]
    message = {"SUCCEEDED": _STORED, "FAILED": _FAILED}.get(status, _QUEUED)
    answer = {"message": message, "status": status, "event_id": told["event_id"]}
    done = status == "SUCCEEDED"
    shown = [item for item in told["results"] if done or item["event"] == HELD]
    if done or shown:  # what is held is so from the start
        answer["results"] = [result_shape(item) for item in shown]
    for name in ("error", "error_code"):
        if told.get(name):
            answer[name] = told[name]
    return answer


class Caller(BaseModel):
    """Whose key it is."""

    status: Literal["ok"]
    org_id: str
    project_id: Annotated[str, Field(examples=["default"])]
    user_email: str


@route("GET", "/v1/ping", summary="Who am I", response_model=Caller)
async def ping(
    place: Annotated[Place, Query()], context: Annotated[Context, Depends(allow("whoami"))]
) -> Reply:
    """Which project a key belongs to; every client asks this first."""
    check_place(context, place)
    return Reply(
        {
            "status": "ok",
            "org_id": ORGANISATION,
            "project_id": context.project,
            "user_email": f"{context.principal.id}@holdfast.invalid",
        }
    )


class Stats(BaseModel):
    """How much a project holds."""

    total_memories: int
    total_users: int
    total_agents: int
    total_apps: int
    total_runs: int
    total_events: int


@route("GET", "/v1/stats", summary="Count memories", response_model=Stats)
async def stats(
    place: Annotated[Place, Query()], context: Annotated[Context, Depends(allow("stats"))]
) -> Reply:
    """Counts of a project's memories, entities and events."""
    check_place(context, place)
    counts = await context.memory.stats()
    kinds = {f"total_{kind}s": counts["entities"].get(kind, 0) for kind in ENTITY_KINDS}
    events = sum(counts["jobs"].values())
    return Reply({"total_memories": counts["memories"], **kinds, "total_events": events})
