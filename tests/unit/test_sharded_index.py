"""A sharded index around its engines: what it asks of whom, and what it does without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from holdfast.backends.memory.vectors import Engine
from holdfast.backends.sharded import moves as shard_moves
from holdfast.backends.sharded.vectors import ShardedSettings, ShardedVectors, ShardSettings
from holdfast.core.breaker import BreakerBounds
from holdfast.core.sharding import decode
from holdfast.errors import (
    ConfigError,
    ConflictError,
    IndexUnavailableError,
    SpaceMismatchError,
    StoreUnavailableError,
)
from holdfast.model import Entity, Project, Space
from holdfast.ports import Point
from holdfast.ports.shards import Progress
from holdfast.testing.contracts.values import RED, SPACE
from support.shards import MemoryShardMaps, Switchboard, SwitchedVectors, Truth

EAST = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
EVERYONE = Entity("user", "*")
KIM = Entity("user", "u0")
"""Lives in shard b of a, b and c."""


def point(id_: str, user: str, mark: int = 1) -> Point:
    return Point(
        id=id_,
        entities=(Entity("user", user), Entity("agent", "x")),
        vector=EAST.tobytes(),
        terms=(7).to_bytes(8, "little"),
        mark=mark,
    )


class World:
    """Engines, records and a map; `index` makes an instance."""

    def __init__(self) -> None:
        self.engine, self.maps, self.board = Engine(), MemoryShardMaps(), Switchboard()
        self.truth = Truth()
        self.now = 0.0
        self.breaker = BreakerBounds(failures_in_row=3)

    def index(self, shards: str = "abc", **settings: Any) -> ShardedVectors:
        """Small letters are shards; those after a "-" leave, those after a "!" are lost."""
        staying, _, rest = shards.partition("-")
        leaving, _, lost = rest.partition("!")
        made = [
            ShardSettings(name=name, provider="m", drain=name in leaving, lost=name in lost)
            for name in staying + leaving + lost
        ]
        return ShardedVectors(
            "c",
            ShardedSettings(shards=tuple(made), **settings),
            lambda _part, name: SwitchedVectors(self.engine, name, self.board),
            self.maps,
            breaker=self.breaker,
            clock=lambda: self.now,
        )

    async def filled(self, shards: str = "abc", count: int = 30) -> ShardedVectors:
        """An open index with `count` memories, one for each of so many users."""
        index = self.index(shards)
        await index.open(SPACE)
        points = [point(f"m{n}", f"u{n}") for n in range(count)]
        self.truth.put(RED, points)
        await index.put(RED, points)
        self.board.calls.clear()
        return index

    async def pause(self, seconds: float) -> None:
        self.now += seconds

    def holding(self) -> dict[str, set[str]]:
        """Which memories each shard has."""
        found = self.engine.collections.items()
        return {name[2:]: {id_ for _, id_ in kept.points} for name, kept in found}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(shard_moves, "PAGE", 8)
    return World()


async def found(index: ShardedVectors, entity: Entity) -> set[str]:
    near = {match.id for match in await index.nearest(RED, entity, EAST, 100)}
    (words,) = await index.holders(RED, entity, [(7,)], 100)
    assert {match.id for match in words.matches} == near
    return near


async def all_marks(index: ShardedVectors, size: int = 7) -> dict[str, int]:
    told: list[tuple[str, int]] = []
    after: str | None = None
    while True:
        page, after = await index.marks(RED, after, size)
        told += page
        if after is None:
            assert len(dict(told)) == len(told)
            return dict(told)


@pytest.mark.parametrize(
    ("shards", "entity", "calls"),
    [("a", KIM, 1), ("a", EVERYONE, 1), ("abc", KIM, 1), ("abc", EVERYONE, 3)],
)
async def test_a_question_costs_one_call_where_one_shard_can_answer(
    world: World, shards: str, entity: Entity, calls: int
) -> None:
    index = await world.filled(shards)
    loads = world.maps.loads
    for _ in range(5):
        await index.nearest(RED, entity, EAST, 5)
        await index.holders(RED, entity, [(7,), (8,)], 5)
    assert len(world.board.calls) == 10 * calls
    assert world.maps.loads == loads, "the map is remembered"
    await index.close()


async def test_the_map_is_read_again_when_it_is_old(world: World) -> None:
    index = await world.filled()
    world.now += 5.1
    loads = world.maps.loads
    await asyncio.gather(*(index.nearest(RED, KIM, EAST, 5) for _ in range(20)))
    assert world.maps.loads == loads + 1
    await index.close()


async def test_of_points_with_one_id_the_last_is_meant(world: World) -> None:
    index = await world.filled(count=0)
    await index.put(RED, [point("m", f"u{n}", mark=n) for n in range(8)])
    assert await index.marks(RED, None, 10) == ([("m", 7)], None)
    assert await found(index, Entity("user", "u7")) == {"m"}
    await index.close()


async def test_questions_that_need_other_shards_go_on(world: World) -> None:
    index = await world.filled()
    (place,) = [name for name, ids in world.holding().items() if "m0" in ids]
    world.board.down = {f"c-{place}"}
    for n in range(30):
        entity = Entity("user", f"u{n}")
        if f"m{n}" in world.holding()[place]:
            with pytest.raises(IndexUnavailableError):
                await found(index, entity)
        else:
            assert await found(index, entity) == {f"m{n}"}
    with pytest.raises(IndexUnavailableError):
        await found(index, EVERYONE)
    await index.close()


async def test_a_shard_that_fails_is_left_alone_and_tried_again(world: World) -> None:
    index = await world.filled("a")
    world.board.down = {"c-a"}
    for _ in range(5):
        with pytest.raises(IndexUnavailableError) as caught:
            await index.nearest(RED, KIM, EAST, 5)
    assert len(world.board.calls) == 3, "it was asked while it was left alone"
    assert caught.value.retry_after_s == 1.0
    world.board.down.clear()
    world.now += 1.1
    assert await found(index, KIM) == {"m0"}
    await index.close()


async def test_an_instance_starts_while_a_shard_is_down(world: World) -> None:
    await (await world.filled()).close()
    world.board.down = {"c-a"}
    index = world.index()
    await index.open(SPACE)
    elsewhere = next(iter(world.holding()["b"]))
    assert await found(index, Entity("user", f"u{elsewhere[1:]}")) == {elsewhere}
    world.board.down.clear()
    assert len(await found(index, EVERYONE)) == 30
    await index.close()
    world.board.down = {"c-a", "c-b", "c-c"}
    index = world.index()
    with pytest.raises(IndexUnavailableError, match="No shard"):
        await index.open(SPACE)
    await index.close()


async def test_a_write_that_failed_is_whole_when_it_is_repeated(world: World) -> None:
    index = await world.filled()
    world.board.down = {"c-a"}
    moved = [point("m0", f"u{n}", mark=2) for n in range(8)]
    for each in moved:
        with pytest.raises(IndexUnavailableError):
            await index.put(RED, [each])
    world.board.down.clear()
    world.now += 1.1
    await index.put(RED, [moved[-1]])
    assert [name for name, ids in world.holding().items() if "m0" in ids] != []
    assert await index.count(RED) == 30
    assert await found(index, Entity("user", "u7")) == {"m0", "m7"}
    await index.close()


async def test_another_space_is_refused_before_anything_is_made(world: World) -> None:
    await (await world.filled("ab")).close()
    index = world.index("abd")
    with pytest.raises(SpaceMismatchError):
        await index.open(Space(provider="tests", model="wide", dimensions=5))
    assert "c-d" not in world.engine.collections
    await index.close()


async def test_a_shard_with_memories_must_be_configured(world: World) -> None:
    old = await world.filled("ab")
    late = world.index("a")
    with pytest.raises(ConfigError, match="shard b has memories"):
        await late.open(SPACE)
    new = world.index("abc")
    await new.open(SPACE)
    await new.rebalance(world.truth, pause=world.pause)
    with pytest.raises(ConfigError, match="shard c has memories and is not configured here"):
        await old.put(RED, [point("m0", "u0")])
    with pytest.raises(ConfigError, match="not configured here"):
        await found(old, EVERYONE)
    for each in (late, new, old):
        await each.close()


async def test_a_shard_that_joins_gets_its_share_and_keeps_nothing_of_before(world: World) -> None:
    await (await world.filled("ab")).close()
    before = world.holding()
    index = world.index("abd")
    await index.open(SPACE)
    stray = SwitchedVectors(world.engine, "c-d", world.board)
    await stray.put(RED, [point("m0", "u0"), point("ghost", "u1")])
    told: list[tuple[str, Progress]] = []
    await index.rebalance(world.truth, told=lambda *each: told.append(each), pause=world.pause)
    after = world.holding()
    moved = (before["a"] - after["a"]) | (before["b"] - after["b"])
    assert after["d"] == moved
    assert 3 < len(moved) < 20
    assert sum(map(len, after.values())) == 30
    assert [phase for phase, _ in told] == ["copying"] * 4 + ["cleaning"] * 4
    assert [progress.seen for _, progress in told] == [8, 16, 24, 30] * 2
    assert told[-1][1].moved == len(moved)
    world.board.calls.clear()
    await index.rebalance(world.truth, pause=world.pause)
    assert world.board.calls == [], "there was nothing left to do"
    await index.close()


async def test_a_shard_that_leaves_is_emptied(world: World) -> None:
    await (await world.filled("abc")).close()
    index = world.index("ab-c")
    await index.open(SPACE)
    assert len(await found(index, EVERYONE)) == 30
    await index.rebalance(world.truth, pause=world.pause)
    assert world.holding()["c"] == set()
    await index.close()
    world.board.calls.clear()
    index = world.index("ab")
    await index.open(SPACE)
    assert len(await found(index, EVERYONE)) == 30
    await index.close()
    assert "c-c" not in {name for name, _ in world.board.calls}


async def test_a_lost_shard_is_rebuilt_from_the_records(world: World) -> None:
    index = await world.filled("abc")
    lost = world.holding()["c"]
    await index.close()
    world.engine.collections.pop("c-c")
    world.board.down = {"c-c"}
    index = world.index("ab-!c")
    await index.open(SPACE)
    for n in range(30):
        if f"m{n}" in lost:
            with pytest.raises(IndexUnavailableError, match="is lost"):
                await found(index, Entity("user", f"u{n}"))
    await index.put(RED, [point("new", "u0")])
    world.truth.put(RED, [point("new", "u0")])
    await index.rebalance(world.truth, pause=world.pause)
    assert len(await found(index, EVERYONE)) == await index.count(RED) == 31
    assert not [call for call in world.board.calls if call[0] == "c-c"]
    await index.close()


class Cut(Truth):
    """Records that call `then` after the n-th page, which is old by then."""

    def __init__(self, truth: Truth, at: int, then: Callable[[], Any]) -> None:
        super().__init__()
        self.held, self.at, self.then, self.pages = truth.held, at, then, 0

    async def point_page(self, project: Project, after: str | None, size: int) -> list[Point]:
        found = await super().point_page(project, after, size)
        self.pages += 1
        if self.pages == self.at:
            await self.then()
        return found


async def killed() -> None:
    raise InterruptedError


@pytest.mark.parametrize("at", range(1, 11))
async def test_a_rebalancing_goes_on_where_it_was_cut_off(world: World, at: int) -> None:
    await (await world.filled("ab")).close()
    first = world.index("abd")
    await first.open(SPACE)
    with pytest.raises(InterruptedError):
        await first.rebalance(Cut(world.truth, at, killed), pause=world.pause)
    await first.close()
    second = world.index("abd")
    await second.open(SPACE)
    assert len(await found(second, EVERYONE)) == 30
    assert await second.count(RED) == len(await all_marks(second)) == 30
    with pytest.raises(IndexUnavailableError, match="being rebalanced"):
        await second.count(None)
    rest = Cut(world.truth, 0, killed)
    await second.rebalance(rest, pause=world.pause)
    assert rest.pages == 10 - (at - 1), "pages that were done are not read again"
    assert await second.count(RED) == 30
    await second.close()


async def test_what_changes_while_it_is_moved_is_moved_as_it_is(world: World) -> None:
    await (await world.filled("ab", count=8)).close()
    index, other = world.index("abd"), world.index("abd")
    for each in (index, other):
        await each.open(SPACE)

    async def changed() -> None:
        new = [point(f"m{n}", f"u{n}", mark=2) for n in range(4)]
        world.truth.put(RED, new)
        await other.put(RED, new)
        gone = [f"m{n}" for n in range(4, 8)]
        world.truth.remove(RED, gone)
        await other.remove(RED, gone)

    for at in (1, 2):  # while it is copied, while it is cleaned
        await index.rebalance(Cut(world.truth, at, changed), pause=world.pause)
        assert await all_marks(index) == {f"m{n}": 2 for n in range(4)}
        assert await index.count(RED) == 4
    for each in (index, other):
        await each.close()


async def test_pages_of_marks_begin_anew_when_the_shards_have_changed(world: World) -> None:
    await (await world.filled("ab")).close()
    index, other = world.index("abd"), world.index("abd")
    for each in (index, other):
        await each.open(SPACE)
    page, settled = await other.marks(RED, None, 5)
    moving: list[str | None] = []

    async def looked() -> None:
        assert len(await all_marks(other)) == 30
        moving.append((await other.marks(RED, None, 5))[1])

    await index.rebalance(Cut(world.truth, 2, looked), pause=world.pause)
    assert len(page) == 5
    for cursor in (settled, moving[0]):
        with pytest.raises(IndexUnavailableError, match="Begin with it again"):
            await other.marks(RED, cursor, 5)
    assert len(await all_marks(other)) == 30
    for each in (index, other):
        await each.close()


async def test_points_that_are_no_memory_move_as_well(world: World) -> None:
    index = await world.filled("ab")
    place = Project(":ours")
    sign = Point(id="sign", entities=(Entity("app", "x"),), vector=None, terms=b"", mark=9)
    await index.put(place, [sign])
    await index.close()
    index = world.index("d-ab")
    await index.open(SPACE)
    await index.rebalance(world.truth, beside={place: [sign]}, pause=world.pause)
    assert await index.marks(place, None, 5) == ([("sign", 9)], None)
    assert await index.count(None) == 31
    assert world.holding()["a"] == world.holding()["b"] == set()
    await index.close()


async def test_one_rebalances_at_a_time(world: World) -> None:
    await (await world.filled("ab")).close()
    index, other = world.index("abd"), world.index("abd")
    for each in (index, other):
        await each.open(SPACE)

    async def overtaken() -> None:
        await other.rebalance(world.truth, pause=world.pause)

    with pytest.raises(ConflictError, match="Somebody else"):
        await index.rebalance(Cut(world.truth, 2, overtaken), pause=world.pause)
    world.now += 20
    assert len(await found(index, EVERYONE)) == await index.count(RED) == 30
    for each in (index, other):
        await each.close()


async def test_a_pause_between_phases_is_longer_than_a_map_and_a_call_live(world: World) -> None:
    await (await world.filled("ab")).close()
    index = world.index("abd", map_age_s=3.0, timeout_s=4.0)
    await index.open(SPACE)
    phases: list[tuple[str, float]] = []

    async def pause(seconds: float) -> None:
        phases.append((decode(world.maps.stored["c"][1]).phase, seconds))

    await index.rebalance(world.truth, pause=pause)
    assert phases == [(each, 7.0) for each in ("settled", "copying", "switched", "cleaning")]
    await index.close()


async def test_a_slow_shard_is_waited_for_so_long_and_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = world.index("a", timeout_s=0.5)
    await index.open(SPACE)

    async def slow(*_: Any) -> list[Any]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(SwitchedVectors, "nearest", slow)
    with pytest.raises(IndexUnavailableError, match=r"no answer within 0\.5 s"):
        await index.nearest(RED, KIM, EAST, 5)
    await index.close()


async def test_the_store_of_the_map_may_be_away_for_a_moment(world: World) -> None:
    index = await world.filled()

    async def away(_: str) -> None:
        raise StoreUnavailableError("Away.", retry_after_s=3.0)

    world.maps.load = away  # type: ignore[assignment]
    assert await found(index, KIM) == {"m0"}
    world.now += 5.1
    with pytest.raises(IndexUnavailableError) as caught:
        await found(index, KIM)
    assert caught.value.retry_after_s == 3.0
    await index.close()
