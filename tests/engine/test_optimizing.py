"""What an engine makes once its points are there: beside the feeding, and before a switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import pytest

from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.engine import indexing, reindexing
from holdfast.errors import IndexUnavailableError
from holdfast.model import OnProgress
from holdfast.testing.contracts.index import EAST, said
from holdfast.testing.contracts.values import NOW, SPACE, commit
from support.candidates import Faulty, Rig


class Graphed(Faulty):
    """An engine with something to make of what is there."""

    made: ClassVar[list[tuple[str, int]]]
    may: ClassVar[asyncio.Event]
    failures = 0
    at_it = 0

    async def optimize(self, told: OnProgress | None = None) -> None:
        kind = type(self)
        if kind.failures:
            kind.failures -= 1
            raise IndexUnavailableError("A planted failure.")
        kind.at_it += 1
        try:
            await kind.may.wait()
        finally:
            kind.at_it -= 1
        points = len(self._held().points) - reindexing.POINTS
        kind.made.append((self.name, points))
        if told is not None:
            told(points, points)

    async def optimizing(self) -> int | None:
        return 7 if self.at_it else None


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with (
        patch.object(reindexing, "SWITCH_S", 0.0),
        patch.object(indexing, "INDEX_BACKOFF_MAX_S", 0.0),
    ):
        yield


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    clock = ManualClock(NOW)
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=1))
    await records.open(SPACE)
    made = Rig(records, SPACE.dimensions)
    made.faults = type("Graphed", (Graphed,), {"made": [], "may": asyncio.Event()})
    yield made
    await made.index.close()
    await records.close()


async def put(rig: Rig, start: int, count: int) -> None:
    texts = [said(f"m{n:04}", f"tea number {n}", EAST) for n in range(start, start + count)]
    await commit(rig.records, *texts)


async def until(so: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing changes")


async def test_it_is_made_when_all_is_fed_and_the_feeding_goes_on(rig: Rig) -> None:
    await put(rig, 0, 300)
    rig.faults.failures = 2
    feeding = asyncio.create_task(rig.feeder.serve())
    await until(lambda: rig.faults.at_it == 1)
    assert rig.faults.failures == 0, "what failed is tried again"
    assert len(rig.engine.collections["index"].points) == 300 + reindexing.POINTS
    assert (await reindexing.status(rig.feeder)).optimizing == 7
    await put(rig, 300, 1)
    await until(lambda: len(rig.engine.collections["index"].points) == 301 + reindexing.POINTS)
    assert (rig.faults.at_it, rig.faults.made) == (1, []), "one at a time"
    rig.faults.may.set()
    await until(lambda: len(rig.faults.made) >= 2)
    assert set(rig.faults.made) == {("memory:index", 301)}, "and once more for what came since"
    assert (await reindexing.status(rig.feeder)).optimizing is None
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)


async def test_it_ends_with_the_feeding(rig: Rig) -> None:
    await put(rig, 0, 3)
    feeding = asyncio.create_task(rig.feeder.serve())
    await until(lambda: rig.faults.at_it == 1)
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    assert (rig.faults.at_it, rig.faults.made) == (0, [])


async def test_a_new_collection_is_searched_when_it_is_made(rig: Rig) -> None:
    await put(rig, 0, 300)
    await rig.feeder.round()
    steps: list[tuple[int, int]] = []
    building = asyncio.create_task(
        reindexing.rebuild(rig.feeder, lambda done, total: steps.append((done, total)))
    )
    with patch.object(reindexing, "INDEX_LEASE_S", 0.03):
        await until(lambda: rig.faults.at_it == 1)
        await put(rig, 300, 5)
        await asyncio.sleep(0.1)
    assert await rig.feeder.build() == 0, "the old one is searched meanwhile"
    rig.faults.may.set()
    assert (await building).build == 1
    assert rig.faults.made == [("memory:index_1", 300)]
    assert steps[-2:] == [(300, 300), (300, 300)], "first the filling, then what is made"
    points = len(rig.engine.collections["index_1"].points)
    assert points == 305 + reindexing.POINTS, "and what was written meanwhile"


async def test_a_rebuild_that_is_cut_off_in_it_goes_on(rig: Rig) -> None:
    await put(rig, 0, 10)
    await rig.feeder.round()
    rig.faults.failures = 1
    with pytest.raises(IndexUnavailableError):
        await reindexing.rebuild(rig.feeder)
    assert await rig.feeder.build() == 0
    building = asyncio.create_task(reindexing.rebuild(rig.feeder))
    await until(lambda: rig.faults.at_it == 1)
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    assert (rig.faults.at_it, await rig.feeder.build()) == (0, 0)
    rig.faults.may.set()
    assert (await reindexing.rebuild(rig.feeder)).build == 1
