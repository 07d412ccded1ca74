"""A reader of deltas: what it knows of an entity must be what the store holds."""

from __future__ import annotations

from typing import Any, Protocol, cast

from holdfast.model import Entity, Json, Project
from holdfast.ports import Delta, Directory, Jobs, Records


class Store(Records, Jobs, Protocol):
    """A record database with its queue and its directory."""

    @property
    def directory(self) -> Directory:
        """The directory in the same database."""


class Replica:
    """What a reader of deltas knows of an entity."""

    def __init__(self) -> None:
        self.generation: int | None = None
        self.held: dict[str, tuple[Json, ...]] = {}
        """Of each id: its entry without the number, its memory."""
        self._numbers: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    async def refresh(self, store: Records, entity: Entity, project: Project) -> Delta:
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
