"""Every record store keeps every sentence of `ports.subjects`; planted faults break each."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Shared
from holdfast.backends.memory.subjects import MemorySubjects
from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.directory import Erasure
from holdfast.model import Entity, Json, Project
from holdfast.ports.subjects import Aged, Copy, Telling
from holdfast.testing.contracts.subjects import SubjectsContract
from holdfast.testing.contracts.values import SPACE, Make
from support import postgres
from support.sealed import records, sealing


class TestMemory(SubjectsContract):
    @pytest.fixture
    def make(self) -> Make:
        shared, ids = Shared(), seeded_ids(ManualClock(), seed=1)
        return lambda: MemoryRecords(shared, ids)


class TestSqlite(SubjectsContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


class TestSealed(SubjectsContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: records(tmp_path / "store.db", ids=ids)


class TestPostgres(SubjectsContract):
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            given = PostgresSettings(url=url)
            yield lambda: PostgresRecords(given, ManualClock(), ids, sealing())


# ------------------------------------------------------------------------------ faults


class Broken(MemorySubjects):
    """Base of those with a fault."""


class BeginsNothing(Broken):
    async def begin(self, erasure: Erasure) -> None:
        await super().begin(Erasure(**{**_fields(erasure), "state": "DONE"}))


class CountsOneCopyLess(Broken):
    async def inventory(self, project: Project, entity: Entity) -> Mapping[str, int]:
        return {**await super().inventory(project, entity), "sources": 0}


class KnowsLivingMemoriesOnly(Broken):
    async def memory_ids(self, project: Project, entity: Entity) -> Sequence[str]:
        there = {row.memory.id for row in self._records.tables.holds(project, entity)}
        return [one for one in await super().memory_ids(project, entity) if one in there]


class ErasesItsOwnScopeOnly(Broken):
    def _keys(self, project: Project, entity: Entity, copy: Copy) -> list[str]:
        return super()._keys(project, entity, copy)[:1]


class ErasesOneBatch(Broken):
    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        if len(self._keys(project, entity, copy)) > 500:
            return 500
        return await super().erase(project, entity, copy)


class LeavesHistory(Broken):
    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        return 0 if copy == "history" else await super().erase(project, entity, copy)


class LeavesUsage(Broken):
    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        return 0 if copy == "usage" else await super().erase(project, entity, copy)


class LeavesJobs(Broken):
    async def erase(self, project: Project, entity: Entity, copy: Copy) -> int:
        return 0 if copy == "jobs" else await super().erase(project, entity, copy)


class KeepsTheName(Broken):
    async def forget(self, project: Project, entity: Entity, mark: str) -> None:
        pass


class ForgetsProjects(Broken):
    async def named(self, project: Project | None) -> Sequence[tuple[Project, Entity, float]]:
        return await super().named(None)


class TellsBackwards(Broken):
    async def rows(
        self, project: Project, entity: Entity, copy: Telling
    ) -> AsyncIterator[Mapping[str, Json]]:
        for row in [row async for row in super().rows(project, entity, copy)][::-1]:
            yield row


class ExpiresNothing(Broken):
    async def expire(self, project: Project, what: Aged, before: float) -> int:
        return 0


class ExpiresWhatIsAlive(Broken):
    def _old(self, project: Project, what: Aged, before: float) -> list[str]:
        if what != "history":
            return super()._old(project, what, before)
        return [event.id for event in self._records.tables.history.get(project, ())]


def _fields(row: Erasure) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


FAULTS = [
    each
    for each in list(globals().values())
    if inspect.isclass(each) and issubclass(each, Broken) and each is not Broken
]
SENTENCES = [
    name
    for name, _ in inspect.getmembers(SubjectsContract, inspect.iscoroutinefunction)
    if name.startswith("test_")
]


async def broken_by(kind: type[MemorySubjects]) -> set[str]:
    """The sentences that a kind of subjects does not keep."""

    class Kept(MemoryRecords):
        @property
        def subjects(self) -> MemorySubjects:
            return kind(self)

    broken = set()
    for name in SENTENCES:
        shared, ids = Shared(), seeded_ids(ManualClock(), seed=3)
        test = getattr(SubjectsContract(), name)
        store = Kept(shared, ids)
        await store.open(SPACE)
        given: dict[str, Any] = {
            "store": store,
            "make": lambda shared=shared, ids=ids: Kept(shared, ids),
            "of": lambda one: one.subjects,
        }
        wanted = inspect.signature(test).parameters
        try:
            await test(**{key: value for key, value in given.items() if key in wanted})
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
            broken.add(name)
    return broken


async def test_planted_faults_are_caught_and_break_every_sentence() -> None:
    assert await broken_by(MemorySubjects) == set()
    caught = {kind.__name__: await broken_by(kind) for kind in FAULTS}
    assert all(caught.values()), caught
    assert set(SENTENCES) == set().union(*caught.values())
