"""Short ways to make the values that contract tests commit and ask for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

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
    Delta,
    Jobs,
    Listing,
    Op,
    PutJob,
    PutMemory,
    PutTurns,
    Records,
    View,
)

RED, BLUE = Project("red"), Project("blue")
SPACE = Space(provider="tests", model="small", dimensions=4)
OTHER_SPACE = Space(provider="tests", model="other", dimensions=4)
ALICE, BOB = Entity("user", "alice"), Entity("user", "bob")
NOW = 1_700_000_000.0


class Store(Records, Jobs, Protocol):
    """A record database with its queue."""


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


class Replica:
    """What a reader of deltas knows of an entity."""

    def __init__(self) -> None:
        self.generation: int | None = None
        self.held: dict[str, tuple[Json, ...]] = {}
        """Of each id: its entry without the number, its memory."""
        self._numbers: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    async def refresh(self, store: Records, entity: Entity, project: Project = RED) -> Delta:
        """Read what changed, or everything; the delta that told it."""
        delta = await store.delta(project, entity, self.generation)
        self.apply(delta)
        return delta

    def apply(self, delta: Delta) -> None:
        """As the docstring of Delta says."""
        if delta.complete:
            self.held, self._numbers, self._told = {}, {}, set()
        named = {*delta.removed, *(entry.id for entry in delta.entries)}
        self._told = {pair for pair in self._told if named.isdisjoint(pair)} | set(delta.told)
        for id_ in delta.removed:
            self.held.pop(id_, None)
            self._numbers.pop(id_, None)
        for entry, memory in zip(delta.entries, delta.memories, strict=True):
            assert entry.id == memory.id
            fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
            self._numbers[entry.id] = fields.pop("seq")
            self.held[entry.id] = (tuple(fields.items()), memory)
        self.generation = delta.generation

    @property
    def order(self) -> list[str]:
        """The ids in order of insertion."""
        return sorted(self._numbers, key=self._numbers.__getitem__)

    @property
    def told(self) -> set[tuple[str, str]]:
        """Pairs of an unlisted turn and a fact, both of this entity."""
        return {pair for pair in self._told if self.held.keys() >= set(pair)}

    def entry(self, id_: str) -> dict[str, Json]:
        """The fields of an entry, without its number."""
        return dict(cast("Any", self.held[id_][0]))

    @property
    def known(self) -> tuple[Json, ...]:
        """Everything, to compare two replicas by."""
        return self.order, {id_: self.held[id_] for id_ in self.order}, sorted(self.told)


async def replica(store: Records, entity: Entity = ALICE, project: Project = RED) -> Replica:
    """A reader who just read everything."""
    fresh = Replica()
    delta = await fresh.refresh(store, entity, project)
    assert delta.complete, "asked without an earlier generation"
    return fresh
