"""The embedded index keeps every sentence of `ports.Index`, over each record store."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.index.working_set import Warm
from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Shared
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.filters import Everything, matches
from holdfast.model import ANY, Entity, Project
from holdfast.ports import EntityState, Found, Hit, Index, Probe, View
from holdfast.testing.contracts.index import IndexContract, Over
from holdfast.testing.contracts.values import BLUE, RED, SPACE, Make
from holdfast.testing.replica import Store


def embedded(store: Store) -> Index:
    return EmbeddedIndex(store, SPACE.dimensions, bytes_max=2**24)


class Embedded(IndexContract):
    """What the embedded index does not keep yet; each mark goes with its fault."""

    @pytest.fixture
    def over(self) -> Over:
        return embedded


class TestOverMemory(Embedded):
    @pytest.fixture
    def make(self) -> Make:
        shared = Shared()
        return lambda: MemoryRecords(shared, seeded_ids(ManualClock(), seed=1))


class TestOverSqlite(Embedded):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


class TestWithNextToNoMemory(TestOverMemory):
    """Every working set is dropped as soon as another one is needed."""

    @pytest.fixture
    def over(self) -> Over:
        return lambda store: EmbeddedIndex(store, SPACE.dimensions, bytes_max=1)


class Broken(EmbeddedIndex):
    """Base of the indexes with a fault."""

    async def asked(self, project: Project, probe: Probe) -> list[Hit]:
        """The answer without the fault."""
        return list((await EmbeddedIndex.search(self, project, probe)).hits)

    async def search(
        self, project: Project, probe: Probe, known: Sequence[EntityState] = ()
    ) -> Found:
        return Found(hits=tuple(await self.told(project, probe)))

    async def told(self, project: Project, probe: Probe) -> list[Hit]:
        """What is answered in its place."""
        return self.spoil(await self.asked(project, self.misread(probe)))

    def misread(self, probe: Probe) -> Probe:
        return probe

    def spoil(self, hits: list[Hit]) -> list[Hit]:
        return hits


class WorstFirst(Broken):
    def spoil(self, hits: list[Hit]) -> list[Hit]:
        return hits[::-1]


class TiesByName(Broken):
    def spoil(self, hits: list[Hit]) -> list[Hit]:
        return sorted(hits, key=lambda hit: (-hit.score, hit.memory.id))


class ScoresAbove(Broken):
    def spoil(self, hits: list[Hit]) -> list[Hit]:
        return [replace(hit, score=hit.score * 100) for hit in hits]


class OneMore(Broken):
    def misread(self, probe: Probe) -> Probe:
        return replace(probe, limit=probe.limit + 1)


class Twice(Broken):
    def spoil(self, hits: list[Hit]) -> list[Hit]:
        return [hit for hit in hits for _ in range(2)]


class FiltersAfterwards(Broken):
    async def told(self, project: Project, probe: Probe) -> list[Hit]:
        hits = await self.asked(project, replace(probe, filter=Everything()))
        return [hit for hit in hits if matches(probe.filter, hit.memory)]


class IgnoresTheFence(Broken):
    def misread(self, probe: Probe) -> Probe:
        return replace(probe, fence=None)


class FencesAfterwards(Broken):
    """What is outside is not found, but shows in the scores of what is inside."""

    async def told(self, project: Project, probe: Probe) -> list[Hit]:
        hits = await self.asked(project, replace(probe, fence=None))
        return [h for h in hits if probe.fence is None or matches(probe.fence, h.memory)]


class IgnoresTheView(Broken):
    def misread(self, probe: Probe) -> Probe:
        return replace(probe, view=View(now=0.0, show_expired=True, listed_only=False))


class PutsFactsLast(Broken):
    """A fact that stands for its turn does not get its place."""

    def spoil(self, hits: list[Hit]) -> list[Hit]:
        return sorted(hits, key=lambda hit: hit.memory.id == "fact")


class Stale(Broken):
    async def _current(self, project: Project, entity: Entity) -> Warm:
        known = self._warm.get((project, entity))
        return known or await super()._current(project, entity)


class ForgetsChanges(Broken):
    async def _refresh(self, key: tuple[Project, Entity], old: Warm | None) -> Warm:
        warm = await super()._refresh(key, old)
        return (
            warm
            if old is None or len(old.memories) < 9
            else dataclasses.replace(old, generation=warm.generation)
        )


class AllEntities(Broken):
    def misread(self, probe: Probe) -> Probe:
        return replace(probe, entities=(Entity("user", ANY),))


class AllProjects(Broken):
    async def told(self, project: Project, probe: Probe) -> list[Hit]:
        return [hit for each in (RED, BLUE) for hit in await self.asked(each, probe)]


class NamesEverybody(Broken):
    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        return await super().names(project, [Entity("user", ANY)])


class NeedsEmbeddings(Broken):
    async def told(self, project: Project, probe: Probe) -> list[Hit]:
        return [] if probe.embedding is None else await self.asked(project, probe)


class ClosesOnce(Broken):
    closed = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True
        await super().close()


SENTENCES = [name for name in dir(IndexContract) if name.startswith("test_")]


async def _broken_by(kind: type[EmbeddedIndex]) -> set[str]:
    found = set()
    for name in SENTENCES:
        shared, ids = Shared(), seeded_ids(ManualClock(), seed=1)
        given: dict[str, Any] = {
            "make": lambda shared=shared, ids=ids: MemoryRecords(shared, ids),
            "over": lambda store: kind(store, SPACE.dimensions, 2**24),
        }
        given["store"] = given["make"]()
        await given["store"].open(SPACE)
        given["index"] = given["over"](given["store"])
        wanted = inspect.signature(getattr(IndexContract, name)).parameters
        try:
            await getattr(IndexContract(), name)(**{k: given[k] for k in given if k in wanted})
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
            found.add(name)
    return found


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    known = await _broken_by(EmbeddedIndex)
    caught = {kind.__name__: await _broken_by(kind) for kind in Broken.__subclasses__()}
    assert [name for name, sentences in caught.items() if not sentences - known] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
