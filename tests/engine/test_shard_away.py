"""One shard of an index is away: the others are fed, and what it lacks waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from holdfast.backends.index.builds import Builds
from holdfast.backends.index.candidates import Bounds, CandidateIndex
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.memory.vectors import Engine
from holdfast.backends.sharded.vectors import ShardedSettings, ShardedVectors, ShardSettings
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.core.breaker import BreakerBounds
from holdfast.engine import indexing, reindexing
from holdfast.engine.indexing import Feeder
from holdfast.errors import IndexUnavailableError
from holdfast.filters import Compare
from holdfast.limits import INDEX_BACKOFF_MAX_S, INDEX_BATCH
from holdfast.metrics import Metrics
from holdfast.model import Entity, Project
from holdfast.ports import EditMemory, RemoveMemories, held_number
from holdfast.testing.contracts.index import EAST, NORTH, said, search
from holdfast.testing.contracts.values import BLUE, NOW, RED, SPACE, commit
from support.shards import MemoryShardMaps, Switchboard, SwitchedVectors

USERS = 24


class World:
    """Records, and an index of three shards that is fed from them."""

    def __init__(self, records: SqliteRecords, clock: ManualClock, timeout_s: float = 10.0) -> None:
        self.records, self.clock = records, clock
        self.engine, self.board, self.maps = Engine(), Switchboard(), MemoryShardMaps()
        self.metrics = Metrics()
        self.hanging: set[str] = set()
        shards = tuple(ShardSettings(name=name, provider="m") for name in "abc")
        settings = ShardedSettings(shards=shards, timeout_s=timeout_s)

        def make(collection: str) -> ShardedVectors:
            return ShardedVectors(
                collection,
                settings,
                lambda _part, name: Hanging(self.engine, name, self.board, self.hanging),
                self.maps,
                breaker=BreakerBounds(failures_in_row=3),
                clock=clock.now,
            )

        async def space_of(_build: int) -> object:
            return SPACE

        self.builds = Builds(make, "index", SPACE, space_of)  # type: ignore[arg-type]
        self.feeder = Feeder(records.indexing, self.builds, clock, self.metrics)
        exact = EmbeddedIndex(records, SPACE.dimensions, 1 << 30)
        self.index = CandidateIndex(
            records,
            records.indexing,
            self.builds,
            exact,
            SPACE.dimensions,
            bounds=Bounds(exact_rows=0),
            metrics=self.metrics,
            clock=clock.now,
        )

    def held(self, shard: str, project: Project = RED) -> set[str]:
        """The ids that a shard has."""
        points = self.engine.collections[f"index-{shard}"].points
        return {id_ for owner, id_ in points if owner == project}

    def home(self, id_: str) -> str:
        """The shard that has a memory."""
        [shard] = [shard for shard in "abc" if id_ in self.held(shard)]
        return shard

    async def say(self, prefix: str, project: Project = RED) -> list[str]:
        """A memory of each user."""
        ids = [f"{prefix}{n}" for n in range(USERS)]
        puts = [said(id_, f"tea {id_}", EAST, user_id=f"u{n}") for n, id_ in enumerate(ids)]
        await commit(self.records, *puts, project=project)
        return ids

    def waiting(self) -> float:
        return self.metrics.gauges()["index_projects_waiting"]


class Hanging(SwitchedVectors):
    """Takes writes and never answers, when told so."""

    def __init__(self, engine: Engine, name: str, board: Switchboard, hanging: set[str]) -> None:
        super().__init__(engine, name, board)
        self._hanging = hanging

    async def put(self, project, points) -> None:  # type: ignore[no-untyped-def]
        if self._collection in self._hanging:
            self._board.asked(self._collection, "hang")
            await asyncio.sleep(3_600)
        await super().put(project, points)

    async def remove(self, project, ids) -> None:  # type: ignore[no-untyped-def]
        if self._collection in self._hanging:
            self._board.asked(self._collection, "hang")
            await asyncio.sleep(3_600)
        await super().remove(project, ids)

    async def count(self, project):  # type: ignore[no-untyped-def]
        self._board.asked(self._collection, "count")
        return await super().count(project)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock(NOW)
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=1))
    await records.open(SPACE)
    made = World(records, clock)
    yield made
    await made.index.close()
    await records.close()


async def spread(world: World) -> dict[str, list[int]]:
    """Which users live in which shard."""
    first = await world.say("first")
    assert await world.feeder.round()
    homes: dict[str, list[int]] = {shard: [] for shard in "abc"}
    for n, id_ in enumerate(first):
        homes[world.home(id_)].append(n)
    assert all(homes.values())
    return homes


async def test_the_others_are_fed_and_what_it_lacks_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "_OUT_OF_ORDER", 0)  # as after many changes of others
    homes = await spread(world)
    world.board.down = {"index-b"}
    for number in range(3):
        await world.say(f"later{number} ")
        await world.say("other ", project=BLUE) if number == 0 else None
        assert await world.feeder.round()
        for shard in "ac":
            late = {f"later{number} {n}" for n in homes[shard]}
            assert late <= world.held(shard), "fed at once, however long b is away"
    assert world.held("b") == {f"first{n}" for n in homes["b"]}
    others = {shard: world.held(shard, BLUE) for shard in "abc"}
    assert (bool(others["a"]), others["b"], bool(others["c"])) == (True, set(), True)
    assert world.waiting() == 2
    status = await reindexing.status(world.feeder)
    assert status.shards_away == ("b",)
    assert (status.projects_behind, status.generations_behind) == (2, world.feeder.behind)
    assert world.feeder.behind >= 3
    world.board.down = set()
    world.clock.advance(INDEX_BACKOFF_MAX_S + 1)
    assert await world.feeder.round()
    assert len(world.held("b")) == 4 * len(homes["b"]), "nothing is lost"
    assert sum(len(world.held(shard, BLUE)) for shard in "abc") == USERS
    assert (world.waiting(), world.feeder.behind) == (0, 0)
    status = await reindexing.status(world.feeder)
    assert (status.shards_away, status.projects_behind, status.points) == ((), 0, 5 * USERS)


async def test_a_process_that_starts_meanwhile_feeds_the_others(world: World) -> None:
    homes = await spread(world)
    [marked] = [shard for shard in "abc" if world.held(shard, Project(":holdfast"))]
    for number, down in enumerate(("a", marked)):
        world.board.down = {f"index-{down}"}
        started = World(world.records, world.clock)
        started.engine, started.board, started.maps = world.engine, world.board, world.maps
        await world.say(f"later{number} ")
        world.clock.advance(INDEX_BACKOFF_MAX_S + 1)
        await world.feeder.finish()
        assert await started.feeder.round()
        for shard in set("abc") - {down}:
            assert {f"later{number} {n}" for n in homes[shard]} <= world.held(shard)
        assert not started.feeder.owns(0), "it looks again"
        world.board.down = set()
        world.clock.advance(INDEX_BACKOFF_MAX_S + 1)
        assert await started.feeder.round()
        assert started.feeder.owns(0)
        assert {f"later{number} {n}" for n in homes[down]} <= world.held(down)
        await started.feeder.finish()
        await started.index.close()


async def test_a_collection_of_which_the_records_know_nothing_waits_for_all_shards(
    world: World,
) -> None:
    await spread(world)
    [marked] = [shard for shard in "abc" if world.held(shard, Project(":holdfast"))]
    for name in await world.records.indexing.numbers(held_number("index", 0)):
        held = await world.records.indexing.number(name)
        await world.records.indexing.move(name, held, None)
    await world.feeder.finish()
    world.board.down = {f"index-{marked}"}
    started = World(world.records, world.clock)
    started.engine, started.board, started.maps = world.engine, world.board, world.maps
    with pytest.raises(IndexUnavailableError):
        await started.feeder.round()
    await started.index.close()


async def test_searches_are_right_all_the_while(world: World) -> None:
    homes = await spread(world)
    world.board.down = {"index-b"}
    await world.say("later")
    await world.feeder.round()
    for n in range(USERS):
        user = Entity("user", f"u{n}")
        hits = await search(world.index, "tea", (user,))
        assert {hit.memory.id for hit in hits} == {f"first{n}", f"later{n}"}
    counts = world.metrics.counts().items()
    answered = {labels[0]: value for (name, labels), value in counts if name == "index_answer"}
    assert answered == {"candidates": USERS - len(homes["b"]), "away": len(homes["b"])}


async def test_it_is_asked_with_pauses(world: World) -> None:
    await spread(world)
    world.board.down = {"index-b"}
    await world.say("later")
    await world.feeder.round()
    name = held_number("sharded:index", 0, RED)
    held = await world.records.indexing.number(name)
    world.board.calls.clear()
    for _ in range(50):
        assert await world.feeder.round()
    assert world.board.calls == [], "nothing new, and not yet time"
    tried = []
    for second in range(600):
        world.clock.advance(1)
        await world.feeder.round()
        if any(called == "index-b" for called, _ in world.board.calls):
            tried.append(second)
        world.board.calls.clear()
    assert 8 <= len(tried) <= 30
    assert max(later - one for one, later in pairwise(tried)) >= 30
    assert await world.records.indexing.number(name) == held, "where all have everything"


async def test_of_one_memory_the_last_state_arrives(world: World) -> None:
    homes = await spread(world)
    n = homes["b"][0]
    world.board.down = {"index-b"}
    for number in range(3):
        edit = EditMemory(
            memory_id=f"first{n}", at=NOW, text=f"coffee {number}",
            vector=said("x", "x", NORTH if number == 2 else EAST).vector,
        )  # fmt: skip
        await commit(world.records, edit)
        await world.feeder.round()
    gone = homes["b"][1]
    await commit(world.records, RemoveMemories(filter=Compare("id", "eq", f"first{gone}"), at=NOW))
    await world.feeder.round()
    world.board.down = set()
    await world.say("new")  # what comes first, when it is back, is not the oldest
    await world.feeder.round()
    world.clock.advance(INDEX_BACKOFF_MAX_S + 1)
    await world.feeder.round()
    points = world.engine.collections["index-b"].points
    assert points[RED, f"first{n}"].vector == said("x", "x", NORTH).vector
    assert (RED, f"first{gone}") not in points


async def test_another_process_goes_on_where_all_have_everything(world: World) -> None:
    homes = await spread(world)
    world.board.down = {"index-b"}
    await world.say("later")
    await world.feeder.round()
    world.board.down = set()
    world.clock.advance(3_600)  # it died, and its lease is over
    other = Feeder(world.records.indexing, world.builds, world.clock)
    assert await other.round()
    assert len(world.held("b")) == 2 * len(homes["b"])


async def test_more_than_a_batch_goes_past_it(world: World) -> None:
    homes = await spread(world)
    world.board.down = {"index-b"}
    for number in range(1 + 2 * INDEX_BATCH // USERS):
        await world.say(f"many{number} ")
    assert await world.feeder.round()
    count = 2 + 2 * INDEX_BATCH // USERS
    assert [len(world.held(s)) for s in "ac"] == [count * len(homes[s]) for s in "ac"]
    world.board.down = set()
    world.clock.advance(INDEX_BACKOFF_MAX_S + 1)
    await world.feeder.round()
    assert len(world.held("b")) == count * len(homes["b"])


async def test_a_shard_that_hangs_keeps_no_other(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=1))
    await records.open(SPACE)
    world = World(records, clock, timeout_s=0.3)
    homes = await spread(world)
    world.hanging.add("index-b")
    for number in range(6):
        await world.say(f"later{number} ")
        await world.feeder.round()
    assert [len(world.held(s)) for s in "ac"] == [7 * len(homes[s]) for s in "ac"]
    hung = [call for call in world.board.calls if call == ("index-b", "hang")]
    assert len(hung) == 3, "then it is left alone"
    await world.index.close()
    await records.close()
