"""Memories, entities and events as the hosted platform shows them, and the forms of its answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from holdfast.model import Json


class StructuredAttributes(BaseModel):
    """The parts of a memory's date, UTC."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    quarter: int
    is_weekend: bool
    day_of_week: str
    day_of_year: int
    week_of_year: int


class MemoryShape(BaseModel):
    """A memory. With `fields`, only those, and `id`."""

    id: Annotated[str, Field(examples=["0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"])]
    memory: Annotated[str | None, Field(examples=["Alice is allergic to nuts."])] = None
    user_id: Annotated[str | None, Field(examples=["alice"])] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    session_id: Annotated[str | None, Field(description="The same as run_id.")] = None
    actor_id: Annotated[str | None, Field(description="`name` of the message.")] = None
    role: str | None = None
    hash: str | None = None
    metadata: dict[str, Any] | None = None
    categories: list[str] | None = None
    expiration_date: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    event_at: Annotated[str | None, Field(description="When it was said or happened.")] = None
    kind: Literal["fact", "turn", "summary"] | None = None
    immutable: bool | None = None
    replaced_by: Annotated[str | None, Field(description="The memory that superseded it.")] = None
    synthesized: Annotated[bool | None, Field(description="A summary, not a fact.")] = None
    lifecycle_state: Literal["active", "expired", "superseded"] | None = None
    structured_attributes: StructuredAttributes | None = None


class ScoreBreakdown(BaseModel):
    """The shares of a score."""

    semantic: float
    bm25: float
    entity: float


class HitShape(MemoryShape):
    """A memory that was found."""

    score: Annotated[float | None, Field(ge=0, le=1)] = None
    score_breakdown: ScoreBreakdown | None = None


class Found(BaseModel):
    """What a search found, best first."""

    results: list[HitShape]
    degraded: Annotated[
        list[str] | None, Field(description="Parts that were away: embedder, reranker, index.")
    ] = None


class Page(BaseModel):
    """A page of a listing."""

    count: Annotated[int, Field(description="How many there are on all pages, exactly.")]
    next: str | None
    previous: str | None


class MemoryPage(Page):
    """A page of memories."""

    results: list[MemoryShape]


class Change(BaseModel):
    """One change of a memory."""

    id: str
    memory_id: str
    input: list[dict[str, Any]]
    old_memory: str | None
    new_memory: str | None
    user_id: str | None
    agent_id: str | None
    app_id: str | None
    run_id: str | None
    session_id: str | None
    categories: list[str]
    event: Literal["ADD", "UPDATE", "DELETE"]
    metadata: dict[str, Any] | None
    created_at: str | None
    updated_at: str | None


class EntityShape(BaseModel):
    """Somebody or something that has memories."""

    id: str
    name: str
    type: Literal["user", "agent", "app", "run"]
    owner: str
    organization: str
    metadata: dict[str, Any]
    total_memories: int
    created_at: str
    updated_at: str


class EntityPage(Page):
    """A page of entities, and how many there are of each kind."""

    results: list[EntityShape]
    total_users: int
    total_agents: int
    total_apps: int
    total_runs: int


class EventShape(BaseModel):
    """Work that was accepted, and what came of it."""

    id: str
    event_type: Annotated[str, Field(examples=["ADD"])]
    status: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]
    payload: Annotated[dict[str, Any], Field(description="Whose memories it is about.")]
    metadata: dict[str, Any] | None
    results: list[dict[str, Any]]
    created_at: str
    updated_at: str
    started_at: str | None
    completed_at: str | None
    latency: Annotated[float | None, Field(description="Milliseconds until it was done.")]
    error: str | None
    error_code: str | None
    attempts: int


class EventPage(Page):
    """A page of events, the newest first."""

    results: list[EventShape]


def memory_shape(memory: Mapping[str, Json], *, dated: bool = True) -> dict[str, Json]:
    """A memory of the library as the platform shows it; `dated`: with the parts of its date."""
    get = memory.get
    shape = {
        "id": memory["id"],
        "memory": memory["memory"],
        "user_id": get("user_id"),
        "agent_id": get("agent_id"),
        "app_id": get("app_id"),
        "run_id": get("run_id"),
        "session_id": get("run_id"),
        "actor_id": get("actor_id"),
        "role": get("role"),
        "hash": memory["hash"],
        "metadata": memory["metadata"],
        "categories": get("categories", []),
        "expiration_date": get("expiration_date"),
        "created_at": memory["created_at"],
        "updated_at": memory["updated_at"],
        "event_at": memory["event_at"],
        "kind": memory["kind"],
        "immutable": get("immutable", False),
        "replaced_by": get("superseded_by"),
        "synthesized": memory["kind"] == "summary",
        "lifecycle_state": _state(memory),
    }
    if dated:
        shape["structured_attributes"] = _attributes(memory["event_at"])
    return shape


def hit_shape(hit: Mapping[str, Json]) -> dict[str, Json]:
    """A search result as the platform shows it."""
    shape = memory_shape(hit, dated=False)
    shape["score"] = hit["score"]
    details = hit.get("score_details")
    if details is not None:
        shape["score_breakdown"] = {
            "semantic": details["semantic_score"],
            "bm25": details["bm25_score"],
            "entity": details["entity_boost"],
        }
    return shape


def only(shape: dict[str, Json], fields: Collection[str] | None) -> dict[str, Json]:
    """The fields that were asked for, and the id; all of them if none was named."""
    if not fields:
        return shape
    return {name: value for name, value in shape.items() if name == "id" or name in fields}


def change_shape(change: Mapping[str, Json], memory: Mapping[str, Json] | None) -> dict[str, Json]:
    """A change as the platform shows it; `memory`: as it is now, if it still is."""
    now = memory or {}
    event = change["event"]
    return {
        "id": change["id"],
        "memory_id": change["memory_id"],
        "input": _input(change, now),
        "old_memory": change["old_memory"],
        "new_memory": change["new_memory"],
        "user_id": change.get("user_id"),
        "agent_id": change.get("agent_id"),
        "app_id": change.get("app_id"),
        "run_id": change.get("run_id"),
        "session_id": change.get("run_id"),
        "categories": now.get("categories", []),
        "event": "UPDATE" if event == "SUPERSEDE" else event,
        "metadata": now.get("metadata"),
        "created_at": change["created_at"],
        "updated_at": change["updated_at"] or change["created_at"],
    }


def _input(change: Mapping[str, Json], memory: Mapping[str, Json]) -> list[Json]:
    """The message that a memory is; of a fact, which message it came from is not told here."""
    if memory.get("kind") != "turn" or change["event"] != "ADD":
        return []
    return [{"role": memory.get("role"), "content": change["new_memory"]}]


def entity_shape(entity: Mapping[str, Json], owner: str, organisation: str) -> dict[str, Json]:
    """An entity as the platform shows it. Its id is its name: that is what deletes it."""
    return {
        "id": entity["name"],
        "name": entity["name"],
        "type": entity["type"],
        "owner": owner,
        "organization": organisation,
        "metadata": {},
        "total_memories": entity["total_memories"],
        "created_at": entity["created_at"],
        "updated_at": entity["updated_at"],
    }


def result_shape(item: Mapping[str, Json]) -> dict[str, Json]:
    """What became of one item of an add, in the words of all generations of clients."""
    return {**item, "data": {"memory": item.get("memory")}}


def event_shape(event: Mapping[str, Json]) -> dict[str, Json]:
    """An event as the platform shows it."""
    latest = event["completed_at"] or event["started_at"] or event["created_at"]
    return {
        "id": event["id"],
        "event_type": event["event_type"],
        "status": event["status"],
        "payload": event["scope"],
        "metadata": event["metadata"],
        "results": [result_shape(item) for item in event["results"]],
        "created_at": event["created_at"],
        "updated_at": latest,
        "started_at": event["started_at"],
        "completed_at": event["completed_at"],
        "latency": event["latency"],
        "error": event["error"],
        "error_code": event["error_code"],
        "attempts": event["attempts"],
    }


def _state(memory: Mapping[str, Json]) -> str:
    if memory.get("valid_to") is not None:
        return "superseded"
    last_day = memory.get("expiration_date")
    expired = last_day is not None and last_day < datetime.now(UTC).date().isoformat()
    return "expired" if expired else "active"


def _attributes(when: str) -> dict[str, Json]:
    at = datetime.fromisoformat(when)
    return {
        "year": at.year,
        "month": at.month,
        "day": at.day,
        "hour": at.hour,
        "minute": at.minute,
        "quarter": (at.month + 2) // 3,
        "is_weekend": at.weekday() >= 5,
        "day_of_week": at.strftime("%A").lower(),
        "day_of_year": at.timetuple().tm_yday,
        "week_of_year": at.isocalendar().week,
    }
