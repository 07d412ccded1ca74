"""Short ways to make the values that contract tests commit and ask for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from holdfast.core.identity import scope_key
from holdfast.filters import Everything, Filter
from holdfast.model import (
    Entity,
    IndexTerms,
    Job,
    Json,
    Memory,
    Project,
    Scope,
    Source,
    Space,
    Turn,
)
from holdfast.ports import (
    Listing,
    Op,
    PutJob,
    PutMemory,
    PutTurns,
    Records,
    View,
)
from holdfast.testing.replica import Replica, Store

RED, BLUE = Project("red"), Project("blue")
SPACE = Space(provider="tests", model="small", dimensions=4)
OTHER_SPACE = Space(provider="tests", model="other", dimensions=4)
ALICE, BOB = Entity("user", "alice"), Entity("user", "bob")
NOW = 1_700_000_000.0


Make = Callable[[], Store]
"""Gives a new, unopened handle on one store, empty at first: as another process would have."""


def vector(*numbers: float) -> bytes:
    """A vector of SPACE, zeros at its end."""
    return struct.pack("<4f", *numbers, *[0.0] * (4 - len(numbers)))


def put(
    id_: str,
    text: str = "tea",
    *,
    identity: bytes | None = None,
    terms: IndexTerms | None = None,
    vec: bytes | None = None,
    turns: Sequence[str] = (),
    supersedes: Sequence[str] = (),
    **fields: Any,
) -> PutMemory:
    """A memory of Alice's, unless `fields` say otherwise; its identity is its scope and text."""
    fields = {"kind": "fact", "user_id": "alice", "event_at": NOW, "created_at": NOW, **fields}
    fields.setdefault("updated_at", fields["created_at"])
    memory = Memory(id=id_, text=text, hash=f"hash of {text}", **fields)
    return PutMemory(
        memory=memory,
        identity=identity or f"{scope_key(memory.scope)} {text}".encode(),
        terms=terms or IndexTerms(),
        vector=vec,
        sources=tuple(Source(turn_id=turn_id, quote=text[:3]) for turn_id in turns),
        supersedes=tuple(supersedes),
    )


def turns(*ids: str, text: str = "I like tea", event_at: float = NOW) -> PutTurns:
    """Raw turns of Alice's."""
    made = [Turn(id=id_, role="user", text=f"{text} ({id_})", event_at=event_at) for id_ in ids]
    return PutTurns(scope=Scope(user_id="alice"), turns=tuple(made))


def raw(id_: str, turn_id: str, **fields: Any) -> PutMemory:
    """The unlisted memory of a raw turn."""
    text = fields.pop("text", f"I like tea ({turn_id})")
    return put(id_, text, turns=[turn_id], kind="turn", listed=False, **fields)


def put_job(id_: str, scope: str = "s", project: Project = RED, **fields: Any) -> PutJob:
    """A waiting job."""
    fields = {"kind": "extract", "state": "PENDING", "payload": {}, "created_at": NOW, **fields}
    return PutJob(job=Job(id=id_, project=project, scope_key=scope, **fields))


def listing(filter: Filter | None = None, **fields: Any) -> Listing:  # noqa: A002
    """All of a project that is current, unless `fields` or `view` say otherwise."""
    fields = {"view": View(now=NOW), "size": 100, **fields}
    return Listing(filter=filter or Everything(), **fields)


async def commit(store: Records, *ops: Op, project: Project = RED) -> list[Json]:
    """`Records.commit` of these operations."""
    return await store.commit(project, ops)


async def one(store: Records, id_: str, project: Project = RED) -> Memory | None:
    """One memory by id."""
    found = await store.fetch(project, [id_])
    return found[0] if found else None


async def sure(store: Records, id_: str, project: Project = RED) -> Memory:
    """One memory by id, which must be there."""
    found = await one(store, id_, project)
    assert found is not None, f"{id_} is not there"
    return found


async def listed(store: Records, *args: Any, project: Project = RED, **fields: Any) -> list[str]:
    """The ids of one page."""
    page = await store.page(project, listing(*args, **fields))
    return [memory.id for memory in page.memories]


async def events(store: Records, id_: str, project: Project = RED) -> list[str]:
    """What happened to a memory: the names of its events."""
    return [event.event for event in await store.history(project, id_)]


async def replica(store: Records, entity: Entity = ALICE, project: Project = RED) -> Replica:
    """A reader who just read everything."""
    fresh = Replica()
    delta = await fresh.refresh(store, entity, project)
    assert delta.complete, "asked without an earlier generation"
    return fresh
