"""What record stores give an external index keeps every sentence of `ports.IndexSource`."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from holdfast.backends.memory.indexing import MemoryIndexing
from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Shared
from holdfast.backends.sql import changes
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.model import ANY, Entity, Project
from holdfast.ports import Changes, Excerpt, Point, Standing
from holdfast.testing.contracts.index import IndexContract, Over
from holdfast.testing.contracts.indexing import IndexSourceContract
from holdfast.testing.contracts.values import BLUE, RED, SPACE, Make, commit, put
from support import postgres
from support.candidates import Restless, Rig


class TestMemory(IndexSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        shared = Shared()
        return lambda: MemoryRecords(shared, seeded_ids(ManualClock(), seed=1))


class TestSqlite(IndexSourceContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


class OnPostgres:
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            yield lambda: postgres.records(url, ids=ids)


class TestPostgres(OnPostgres, IndexSourceContract):
    pass


class TestIndexOverPostgres(OnPostgres, IndexContract):
    """The index on a vector database, over records on Postgres; its engine is fed now and then."""

    @pytest.fixture
    def over(self) -> Over:
        return lambda store: Restless(Rig(store, SPACE.dimensions), "fed", "late")


class Pruned:
    """SQL engines forget old changes; of each project they know what was forgotten."""

    async def test_a_project_knows_what_was_forgotten_of_it(self, make: Make) -> None:
        store = make()
        await store.open(SPACE)
        source = cast("Any", store).indexing
        await commit(store, put("a"))
        await commit(store, put("b"), project=BLUE)
        red = (await source.changes(RED, -1, 9)).upto
        blue = (await source.changes(BLUE, -1, 9)).upto
        with patch.multiple(changes, OUTBOX_ROWS_KEPT=2, _PRUNE_EVERY=1):
            for n in range(6):
                await commit(store, put(f"m{n}", f"tea {n}"))
        assert (await source.changes(RED, red, 9)).lost
        found = await source.changes(BLUE, blue, 9)
        assert (found.ids, found.lost) == ((), False)
        await commit(store, put("c", "milk"), project=BLUE)
        found = await source.changes(BLUE, blue, 9)
        assert (found.ids, found.lost) == (("c",), False)
        await store.close()


class TestPrunedSqlite(Pruned):
    make = TestSqlite.make


class TestPrunedPostgres(OnPostgres, Pruned):
    pass


class Broken(MemoryIndexing):
    """Base of the sources with a fault."""


class HeldForEver(Broken):
    def _floor(self, project: Project) -> int:
        return 0


class HeldByAll(Broken):
    async def standing(self, project: Project, entity: Entity, index: str) -> Standing:
        found = await super().standing(project, entity, index)
        known = self._records.tables.index_numbers.values()
        return replace(found, held=max([*known, found.held]))


class ForgetsTheBuild(Broken):
    async def standing(self, project: Project, entity: Entity, index: str) -> Standing:
        return replace(await super().standing(project, entity, index), build=0)


class OnlyWhatWasAsked(Broken):
    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        found = await super().excerpt(project, entity, ids, latest)
        kept = [n for n, entry in enumerate(found.entries) if entry.id in ids]
        return replace(
            found,
            entries=tuple(found.entries[n] for n in kept),
            memories=tuple(found.memories[n] for n in kept),
        )


class ForgetsTheLatest(Broken):
    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        return await super().excerpt(project, entity, ids, 0)


class OfAnybody(Broken):
    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        return await super().excerpt(project, Entity(entity.kind, ANY), ids, latest)


class StarIsAnId(Broken):
    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        if entity.id == ANY:
            return Excerpt(entries=(), memories=())
        return await super().excerpt(project, entity, ids, latest)


class TellsNothing(Broken):
    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        return replace(await super().excerpt(project, entity, ids, latest), told=())


class ClosedSpans(Broken):
    async def dated(
        self, project: Project, entity: Entity, spans: Sequence[tuple[float, float]], limit: int
    ) -> list[str]:
        wider = [(start, end + 0.5) for start, end in spans]
        return await super().dated(project, entity, wider, limit)


class TouchedForEver(Broken):
    async def touched(self, since: int) -> tuple[Mapping[Project, int], int]:
        return await super().touched(-1)


class ForgetsResets(Broken):
    async def touched(self, since: int) -> tuple[Mapping[Project, int], int]:
        last = self._records.tables.generation
        with patch.object(self._records.tables, "reset_at", {}):
            return (await super().touched(since))[0], last


class CountsWhatIsListed(Broken):
    async def sizes(self) -> Mapping[Project, int]:
        rows = self._records.tables.rows
        return Counter(owner for (owner, _), row in rows.items() if row.memory.listed)


class OnlyWhatIsThere(Broken):
    async def changes(self, project: Project, since: int, size: int) -> Changes:
        found = await super().changes(project, since, size)
        here = self._records.tables.rows
        return replace(found, ids=tuple(id_ for id_ in found.ids if (project, id_) in here))


class CutsGenerations(Broken):
    async def changes(self, project: Project, since: int, size: int) -> Changes:
        found = await super().changes(project, since, size)
        return replace(found, ids=found.ids[:size])


class OneMore(Broken):
    async def changes(self, project: Project, since: int, size: int) -> Changes:
        return await super().changes(project, since - 1, size)


class LosesNothing(Broken):
    async def changes(self, project: Project, since: int, size: int) -> Changes:
        return replace(await super().changes(project, since, size), lost=False)


class MarksTheId(Broken):
    async def points(self, project: Project, ids: Sequence[str]) -> list[Point]:
        return [replace(p, mark=len(p.id)) for p in await super().points(project, ids)]


class PagesAgain(Broken):
    async def point_page(self, project: Project, after: str | None, size: int) -> list[Point]:
        found = await super().point_page(project, after, size)
        known = [] if after is None else await super().points(project, [after])
        return [*known, *found][:size] if found else []


class MovesAnyway(Broken):
    async def move(self, name: str, expected: int | None, value: int | None) -> bool:
        return await super().move(name, self._records.tables.index_numbers.get(name), value)


class NumbersAlike(Broken):
    async def numbers(self, prefix: str) -> Mapping[str, int]:
        known = self._records.tables.index_numbers
        return {name: value for name, value in known.items() if name.startswith(prefix[:-1])}


SENTENCES = [name for name in dir(IndexSourceContract) if name.startswith("test_")]


async def broken_by(kind: type[MemoryIndexing]) -> set[str]:
    """The sentences a source does not keep."""
    found = set()
    for name in SENTENCES:
        store = MemoryRecords(Shared(), seeded_ids(ManualClock(), seed=1))
        await store.open(SPACE)
        given: dict[str, Any] = {"store": store, "source": kind(store)}
        test = getattr(IndexSourceContract(), name)
        wanted = inspect.signature(test).parameters
        try:
            async with asyncio.timeout(5):
                await test(**{key: value for key, value in given.items() if key in wanted})
        except Exception:  # noqa: BLE001  (any failure is a failure)
            found.add(name)
    return found


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    assert await broken_by(MemoryIndexing) == set()
    caught = {kind.__name__: await broken_by(kind) for kind in Broken.__subclasses__()}
    assert [name for name, sentences in caught.items() if not sentences] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
