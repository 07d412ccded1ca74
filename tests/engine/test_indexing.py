"""An external index is fed, compared, mended and built anew, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from holdfast.backends.sql import changes
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.engine import comparing, reindexing
from holdfast.engine.comparing import Drift
from holdfast.errors import ConfigError, ConflictError, IndexUnavailableError
from holdfast.filters import Compare
from holdfast.model import Project
from holdfast.ports import EditMemory, Op, RemoveMemories, Reset, held_number
from holdfast.testing.contracts.index import EAST, NORTH, found, said, search
from holdfast.testing.contracts.values import ALICE, BLUE, NOW, RED, SPACE, commit
from support.candidates import Rig


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[SqliteRecords]:
    clock = ManualClock(NOW)
    made = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=1))
    await made.open(SPACE)
    yield made
    await made.close()


@pytest.fixture
async def rig(records: SqliteRecords) -> AsyncIterator[Rig]:
    made = Rig(records, SPACE.dimensions)
    yield made
    await made.index.close()


def held(rig: Rig, project: Project = RED, collection: str = "index") -> set[str]:
    """The ids that the engine has."""
    points = rig.engine.collections[collection].points
    return {id_ for owner, id_ in points if owner == project}


async def check(rig: Rig, *, repair: bool = False) -> Drift:
    with patch.object(reindexing, "AGAIN_S", 0.0):
        return await reindexing.verify(rig.feeder, repair=repair)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with patch.object(reindexing, "SWITCH_S", 0.0):
        yield


def many(count: int, start: int = 0) -> list[Op]:
    return [said(f"m{n:04}", f"tea number {n}", EAST) for n in range(start, start + count)]


async def test_writes_follow_into_the_engine(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(5))
    await commit(records, said("b", "milk"), project=BLUE)
    assert await rig.feeder.round()
    assert held(rig) == {f"m{n:04}" for n in range(5)}
    assert held(rig, BLUE) == {"b"}
    points = rig.engine.collections["index"].points
    before = points[RED, "m0001"]
    await commit(
        records,
        EditMemory(memory_id="m0001", at=NOW, text="coffee", vector=said("x", "x", NORTH).vector),
        RemoveMemories(filter=Compare("id", "in", ("m0002", "m0003")), at=NOW),
    )
    assert await rig.feeder.round()
    assert held(rig) == {"m0000", "m0001", "m0004"}
    assert points[RED, "m0001"].mark != before.mark
    assert points[RED, "m0001"].vector == said("x", "x", NORTH).vector
    assert await check(rig) == Drift(memories=4, points=4)


async def test_what_was_fed_is_not_fed_again(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(5))
    await rig.feeder.round()
    calls = rig.faults.calls
    await rig.feeder.round()
    assert rig.faults.calls == calls
    again = Rig(records, SPACE.dimensions, engine=rig.engine, clock=rig.clock)
    rig.clock.advance(3_600)
    assert await again.feeder.round()
    assert again.faults.calls == 0, "another process goes on where the first was"
    await again.index.close()


async def test_a_project_that_is_emptied_leaves_nothing_behind(
    records: SqliteRecords, rig: Rig
) -> None:
    await commit(records, *many(5))
    await commit(records, said("b", "milk"), project=BLUE)
    await rig.feeder.round()
    await commit(records, Reset())
    await rig.feeder.round()
    assert held(rig) == set()
    assert held(rig, BLUE) == {"b"}
    await commit(records, *many(2))
    await rig.feeder.round()
    assert held(rig) == {"m0000", "m0001"}


async def test_one_process_feeds_at_a_time(records: SqliteRecords, rig: Rig) -> None:
    other = Rig(records, SPACE.dimensions, engine=rig.engine, clock=rig.clock)
    assert await rig.feeder.round()
    assert not await other.feeder.round()
    rig.clock.advance(29)
    assert not await other.feeder.round()
    rig.clock.advance(2)  # the first has said nothing for longer than its lease
    assert await other.feeder.round()
    assert not await rig.feeder.round()
    await other.feeder.finish()
    assert await rig.feeder.round()
    await other.index.close()


async def test_changes_that_were_forgotten_are_found_by_comparing(
    records: SqliteRecords, rig: Rig
) -> None:
    await commit(records, *many(8))
    await commit(records, said("b", "milk"), project=BLUE)
    await rig.feeder.round()
    with patch.multiple(changes, OUTBOX_ROWS_KEPT=2, _PRUNE_EVERY=1):
        await commit(records, RemoveMemories(filter=Compare("id", "eq", "m0002"), at=NOW))
        for n in range(8, 14):
            await commit(records, said(f"m{n:04}", "late tea"))
    await rig.feeder.round()
    assert await check(rig) == Drift(memories=14, points=14)
    assert "m0002" not in held(rig)
    standing = await rig.source.standing(BLUE, ALICE, "index")
    assert standing.held >= standing.generation, "a project that did not change lost nothing"


@pytest.mark.parametrize("late", [False, True])
async def test_every_call_of_the_engine_may_fail_once(records: SqliteRecords, late: bool) -> None:
    await commit(records, *many(600))
    at = 0
    while True:
        at += 1
        rig = Rig(records, SPACE.dimensions, clock=ManualClock(NOW + 3_600.0 * at))
        rig.faults.fail_at, rig.faults.late = at, late
        failed = False
        try:
            await rig.feeder.round()
        except IndexUnavailableError:
            failed = True
            await rig.feeder.round()
        rig.faults.fail_at = 0
        assert len(held(rig)) == 600
        assert await check(rig) == Drift(memories=600, points=600)
        await rig.index.close()
        # the next engine starts with nothing
        for name, value in (await records.indexing.numbers(held_number("index", 0))).items():
            await records.indexing.move(name, value, None)
        if not failed:
            assert at > 4
            return


async def test_drift_is_found_and_mended(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(700))
    await rig.feeder.round()
    points = rig.engine.collections["index"].points
    stranger = points[RED, "m0000"]
    for n in range(10):
        del points[RED, f"m{n:04}"]
    points[RED, "m0100"] = replace(points[RED, "m0101"], id="m0100", mark=7)
    points[RED, "zombie"] = replace(stranger, id="zombie")
    wrong = Drift(memories=700, points=691, missing=10, stale=1, extra=1)
    assert await check(rig) == wrong
    assert rig.metrics.gauges()["index_drift"] == 12
    with patch.object(comparing, "ROWS_AT_ONCE", 100):
        assert await check(rig) == wrong, "in several passes"
        assert await check(rig, repair=True) == wrong
        assert await check(rig) == Drift(memories=700, points=700)
    assert rig.metrics.gauges()["index_drift"] == 0
    assert len(held(rig)) == 700


async def test_an_engine_that_lost_everything_is_mended(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(300))
    await rig.feeder.round()
    rig.wipe()
    hits = await search(rig.index, "tea number 7", limit=10)
    assert len(hits) == 10, "answered from the records meanwhile"
    assert rig.answered() == {"short": 1}
    assert (await check(rig, repair=True)).missing == 300
    assert len(await search(rig.index, "tea number 7", limit=10)) == 10
    assert rig.answered() == {"short": 1, "candidates": 1}


async def test_another_engine_is_filled_from_the_beginning(
    records: SqliteRecords, rig: Rig
) -> None:
    """What was noted of a collection of the same name elsewhere says nothing of this one."""
    await commit(records, *many(300))
    await rig.feeder.round()
    other = Rig(records, SPACE.dimensions, clock=rig.clock)
    rig.clock.advance(3_600)
    await other.feeder.collection(await other.feeder.build())
    assert len(await search(other.index, "tea number 7", limit=10)) == 10
    assert other.answered() == {"unfed": 1}
    assert await other.feeder.round()
    assert len(held(other)) == 300
    assert len(await search(other.index, "tea number 7", limit=10)) == 10
    assert other.answered() == {"unfed": 1, "candidates": 1}
    await other.index.close()


async def test_a_new_build_takes_over_without_a_pause(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(400))
    await rig.feeder.round()
    other = Rig(records, SPACE.dimensions, engine=rig.engine, clock=rig.clock)
    wanted = await found(rig.index, "tea number 7", limit=10)
    seen: list[tuple[int, int]] = []
    building = asyncio.create_task(
        reindexing.rebuild(rig.feeder, lambda done, total: seen.append((done, total)))
    )
    while not building.done():
        assert await found(other.index, "tea number 7", limit=10) == wanted
        await asyncio.sleep(0)
    assert (await building).build == 1
    assert seen[-1] == (400, 400)
    assert set(rig.engine.collections) == {"index_1"}
    assert await found(other.index, "tea number 7", limit=10) == wanted
    assert set(other.answered()) == {"candidates"}
    await commit(records, said("new", "fresh tea"))
    await rig.feeder.round()
    assert "new" in held(rig, collection="index_1")
    assert await check(rig) == Drift(memories=401, points=401)
    status = await reindexing.status(rig.feeder)
    assert (status.build, status.building, status.points, status.memories) == (1, None, 401, 401)
    assert status.projects_behind == 0
    await other.index.close()


async def test_one_who_does_not_feed_knows_the_new_build_too(
    records: SqliteRecords, rig: Rig
) -> None:
    """Whoever writes points in the records' transaction must have the collection at hand."""
    await commit(records, *many(3))
    other = Rig(records, SPACE.dimensions, engine=rig.engine, clock=rig.clock)
    assert await rig.feeder.round()
    await reindexing.rebuild(rig.feeder)
    assert not await other.feeder.round(), "it is not this one who feeds"
    assert not other.feeder.owns(1), "and without a need nothing is opened"
    other.feeder.beside = True
    assert not await other.feeder.round()
    assert other.feeder.owns(1)
    await other.index.close()


async def test_a_rebuild_that_was_cut_off_goes_on(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(600))
    await rig.feeder.round()
    for at in range(1, 60):
        rig.faults.fail_at = rig.faults.calls + at
        try:
            built = await reindexing.rebuild(rig.feeder)
        except IndexUnavailableError:
            assert len(await found(rig.index, "tea number 7", limit=10)) == 10
            continue
        if rig.faults.calls < rig.faults.fail_at:
            break
    else:
        raise AssertionError("it never gets through")
    rig.faults.fail_at = 0
    assert list(rig.engine.collections) == [f"index_{built.build}"]
    assert await check(rig) == Drift(memories=600, points=600)


async def test_what_is_written_meanwhile_is_in_the_new_build(
    records: SqliteRecords, rig: Rig
) -> None:
    await commit(records, *many(300))
    await rig.feeder.round()
    put, written = rig.feeder.put, 0

    async def put_and_write(*given: object) -> None:
        nonlocal written
        await put(*given)  # type: ignore[arg-type]
        if written < 3:
            written += 1
            await commit(records, said(f"late{written}", "late tea"))
            await commit(
                records, RemoveMemories(filter=Compare("id", "eq", f"m{written:04}"), at=NOW)
            )

    with patch.object(rig.feeder, "put", put_and_write):
        await reindexing.rebuild(rig.feeder)
    assert written == 3
    assert {"late1", "late2", "late3"} <= held(rig, collection="index_1")
    assert await check(rig) == Drift(memories=300, points=300)


async def test_an_interrupted_rebuild_can_be_given_up(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(300))
    await rig.feeder.round()
    assert not await reindexing.discard(rig.feeder)
    rig.faults.fail_at = rig.faults.calls + 4
    with pytest.raises(IndexUnavailableError):
        await reindexing.rebuild(rig.feeder)
    assert (await reindexing.status(rig.feeder)).building == 1
    assert await reindexing.discard(rig.feeder)
    assert list(rig.engine.collections) == ["index"]
    status = await reindexing.status(rig.feeder)
    assert (status.build, status.building, status.points) == (0, None, 300)


async def test_two_rebuilds_at_once_are_refused(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(300))
    other = Rig(records, SPACE.dimensions, engine=rig.engine, clock=rig.clock)
    results = await asyncio.gather(
        reindexing.rebuild(rig.feeder), reindexing.rebuild(other.feeder), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in results) == ["ConflictError", "Rebuilt"]
    assert any(isinstance(each, ConflictError) for each in results)
    await other.index.close()


async def test_a_collection_of_another_store_is_left_alone(
    records: SqliteRecords, rig: Rig, tmp_path: Path
) -> None:
    await commit(records, *many(5))
    await rig.feeder.round()
    clock = ManualClock(NOW)
    stranger = SqliteRecords(tmp_path / "other.db", clock, seeded_ids(clock, seed=2))
    await stranger.open(SPACE)
    other = Rig(stranger, SPACE.dimensions, engine=rig.engine)
    await commit(stranger, said("x", "theirs"))
    works = (other.feeder.round, lambda: check(other, repair=True), lambda: check(other))
    for work in works:
        with pytest.raises(ConfigError, match="not this store's"):
            await work()
    assert len(held(rig)) == 5
    assert await found(other.index, "theirs") == ["x"], "answered from its own records"
    assert await check(rig) == Drift(memories=5, points=5)
    await rig.feeder.finish()
    await other.index.close()
    await stranger.close()


async def test_status_of_an_engine_that_is_away(records: SqliteRecords, rig: Rig) -> None:
    await commit(records, *many(3))
    rig.faults.away = True
    status = await reindexing.status(rig.feeder)
    assert not status.reachable
    assert (status.error, status.points, status.memories) == ("INDEX_UNAVAILABLE", None, 3)
    assert status.projects_behind == 1


async def test_the_feeder_comes_back_when_its_engine_does(records: SqliteRecords, rig: Rig) -> None:
    rig.faults.away = True
    await commit(records, *many(3))
    feeding = asyncio.create_task(rig.feeder.serve())
    await asyncio.sleep(0.1)
    assert not feeding.done()
    rig.faults.away = False
    for _ in range(200):
        await asyncio.sleep(0.02)
        if rig.engine.collections and len(held(rig)) == 3:
            break
    assert len(held(rig)) == 3
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
