"""A sharded index answers as one index does, whatever happens to its shards.

Memories are written and deleted through two instances that go by maps of different age; shards
join, get heavier, leave, fail and come back; rebalancings are cut off anywhere, with writes between
any two of their steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.backends.sharded import moves as shard_moves
from holdfast.backends.sharded.moves import Rebalancing
from holdfast.backends.sharded.vectors import ShardedSettings, ShardedVectors, ShardSettings
from holdfast.core.breaker import BreakerBounds
from holdfast.core.sharding import Pin, Plan, ShardMap, decode
from holdfast.errors import IndexUnavailableError
from holdfast.model import ANY, Entity, Project
from holdfast.ports import Point
from holdfast.testing.contracts.values import SPACE
from support.shards import MemoryShardMaps, Switchboard, SwitchedVectors, Truth
from support.thorough import often

PROJECTS = (Project("red"), Project("blue"))
USERS = ("ann", "bob", "cem", "dai")
NEVER = BreakerBounds(failures_in_row=10**9, calls_min=10**9)
DIRECTIONS = [(1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.6, 0.8, 0.0, 0.0)]
ASKED = [
    *(Entity("user", name) for name in ("ann", "bob", ANY)),
    *(Entity("agent", name) for name in ("x", ANY)),
]

points = st.builds(
    lambda id_, user, others, direction, terms, mark: Point(
        id=id_,
        entities=tuple(([Entity("user", user)] if user else []) + (others or [Entity("run", "r")])),
        vector=np.array(direction, "<f4").tobytes() if direction else None,
        terms=np.array(terms, "<u8").tobytes(),
        mark=mark,
    ),
    st.sampled_from([f"m{n}" for n in range(12)]),
    st.sampled_from([*USERS, None]),
    st.sampled_from([[], [Entity("agent", "x")], [Entity("agent", "y"), Entity("run", "r")]]),
    st.sampled_from([*DIRECTIONS, None]),
    st.lists(st.sampled_from([1, 2, 3]), max_size=4),
    st.integers(0, 5),
)
writes = st.tuples(
    st.sampled_from(PROJECTS),
    st.one_of(
        st.lists(points, min_size=1, max_size=5), st.sampled_from([f"m{n}" for n in range(12)])
    ),
    st.integers(0, 1),
)
steps = st.lists(st.one_of(writes, writes, writes, st.just("kill"), st.just("down")), max_size=12)
weights = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([1, 1, 3]), min_size=1)


class Killed(Exception):
    """The process that rebalances is gone."""


class Shards(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 0.0
        self.engine, self.maps, self.board = Engine(), MemoryShardMaps(), Switchboard()
        self.truth = Truth()
        self.unsure: set[tuple[Project, str]] = set()
        """Writes that failed: repeated later."""
        self.instances: list[ShardedVectors] = []
        self.steps: list[Any] = []
        self.configure({"a": 1, "b": 1}, False)

    # ------------------------------------------------------------- what people do

    @rule(weights=weights, pinned=st.booleans())
    def configure(self, weights: dict[str, int], pinned: bool) -> None:
        """All instances start anew with other shards; those with points leave in order."""
        stored = self.maps.stored.get("c")
        placed = set()
        if stored:
            known = decode(stored[1])
            placed = {shard.name for each in (known.before, known.after) for shard in each.shards}
        shards = [
            ShardSettings(
                name=name, provider="m", weight=weights.get(name, 1), drain=name not in weights
            )
            for name in sorted(placed | set(weights))
        ]
        pins = (Pin(user="ann", shard=min(weights)),) if pinned else ()
        made = ShardedSettings(shards=tuple(shards), pins=pins, timeout_s=2.0, map_age_s=5.0)
        for instance in self.instances:
            self.run(instance.close())
        self.instances = [self._instance(made) for _ in range(2)]
        self.board.down = set()
        for instance in self.instances:
            self.run(instance.open(SPACE))

    @rule(write=writes)
    def write(self, write: Any) -> None:
        self.run(self.written(*write))

    @rule(name=st.sampled_from("abcde"))
    def fail(self, name: str) -> None:
        self.board.down ^= {f"c-{name}"}

    @rule(seconds=st.sampled_from([1.0, 3.0, 10.0]))
    def later(self, seconds: float) -> None:
        self.now += seconds

    @rule(steps=steps)
    def rebalance(self, steps: list[Any]) -> None:
        """Until it is cut off, or to its end; everything else goes on between its steps."""
        self.steps = list(steps)
        may_fail = bool({"kill", "down"} & {step for step in steps if isinstance(step, str)})
        may_fail |= bool(self.board.down)
        try:
            self.run(self.instances[0].rebalance(Watched(self), pause=self.paused))
        except (Killed, IndexUnavailableError):
            assert may_fail
        else:
            self.run(self.compare())

    @precondition(lambda self: self.unsure)
    @rule()
    def repeat(self) -> None:
        self.run(self.repeated())

    @rule()
    def ask(self) -> None:
        self.run(self.compare())

    @precondition(lambda self: not self.unsure and not self.board.down)
    @rule()
    def listed(self) -> None:
        self.run(self.same_marks(self.instances[1]))

    # ------------------------------------------------------------- how

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def _instance(self, made: ShardedSettings) -> ShardedVectors:
        return ShardedVectors(
            "c",
            made,
            lambda _part, name: SwitchedVectors(self.engine, name, self.board),
            self.maps,
            breaker=NEVER,
            clock=lambda: self.now,
        )

    async def written(self, project: Project, what: Any, instance: int) -> None:
        """The records first, then the index."""
        ids = [what] if isinstance(what, str) else [point.id for point in what]
        if isinstance(what, str):
            self.truth.remove(project, ids)
        else:
            self.truth.put(project, what)
        await self.repeated_for(project, ids, instance)

    async def repeated_for(self, project: Project, ids: Sequence[str], instance: int) -> None:
        held = await self.truth.points(project, ids)
        gone = sorted(set(ids) - {point.id for point in held})
        index = self.instances[instance]
        try:
            if held:
                await index.put(project, held)
            if gone:
                await index.remove(project, gone)
        except IndexUnavailableError:
            assert self.board.down
            self.unsure |= {(project, id_) for id_ in ids}
        else:
            self.unsure -= {(project, id_) for id_ in ids}

    async def repeated(self) -> None:
        for project in PROJECTS:
            ids = sorted({id_ for owner, id_ in self.unsure if owner == project})
            await self.repeated_for(project, ids, 0)

    async def paused(self, seconds: float) -> None:
        """The wait between phases: instances still go by the map of the last one."""
        assert seconds >= 7.0
        await self.step()
        await self.compare()
        self.now += seconds
        await self.step()

    async def step(self) -> None:
        if not self.steps:
            return
        step = self.steps.pop()
        if step == "kill":
            raise Killed
        if step == "down":
            self.board.down ^= {"c-b"}
            return
        await self.written(*step)

    async def compare(self) -> None:
        """Both instances answer as an index would that is made of the records now."""
        whole = MemoryVectors(Engine(), "whole")
        await whole.open(SPACE)
        for project, held in self.truth.held.items():
            await whole.put(project, list(held.values()))
        for instance in self.instances:
            for project in PROJECTS:
                for entity in ASKED:
                    await self.same(instance, whole, project, entity)

    async def same(
        self, instance: ShardedVectors, whole: MemoryVectors, project: Project, entity: Entity
    ) -> None:
        question = np.array(DIRECTIONS[2], np.float32)
        words = [(1,), (2, 3), (4,)]
        try:
            near = await instance.nearest(project, entity, question, 50)
            holders = await instance.holders(project, entity, words, 50)
        except IndexUnavailableError:
            assert instance._plan is not None
            asked = {f"c-{name}" for name in instance._plan.reads(project, entity)}
            assert asked & self.board.down, "no shard it needs is down"
            return
        sure = self.sure(project)
        wanted = await whole.nearest(project, entity, question, 50)
        mine = sorted((m.id, m.score) for m in near if sure(m.id))
        assert mine == sorted((m.id, m.score) for m in wanted if sure(m.id)), entity
        assert [m.score for m in near] == sorted((m.score for m in near), reverse=True)
        others = await whole.holders(project, entity, words, 50)
        for found, known in zip(holders, others, strict=True):
            assert len({m.id for m in found.matches}) == len(found.matches)
            ids = {m.id for m in found.matches if sure(m.id)}
            assert ids == {m.id for m in known.matches if sure(m.id)}, entity
            if not self.unsure:
                assert found.rows == known.rows

    async def same_marks(self, instance: ShardedVectors) -> None:
        for project in PROJECTS:
            held = self.truth.held.get(project, {})
            assert await instance.count(project) == len(held)
            page: list[tuple[str, int]] = []
            after: str | None = None
            while True:
                more, after = await instance.marks(project, after, 3)
                page += more
                if after is None:
                    break
            assert sorted(page) == sorted((p.id, p.mark) for p in held.values())

    def sure(self, project: Project) -> Callable[[str], bool]:
        return lambda id_: (project, id_) not in self.unsure

    async def settle(self) -> None:
        """All shards are back and everything is done to its end."""
        self.board.down, self.steps = set(), []
        await self.repeated()
        await self.instances[0].rebalance(Watched(self), pause=self.paused)
        self.now += 10.0
        await self.repeated()
        assert not self.unsure
        await self.compare()
        for instance in self.instances:
            await self.same_marks(instance)
        total = sum(len(held) for held in self.truth.held.values())
        placed = {f"c-{shard.name}" for shard in self.instances[0]._wanted.shards}
        collections = self.engine.collections.items()
        assert sum(len(kept.points) for _, kept in collections) == total, "copies are left"
        assert all(name in placed for name, kept in collections if kept.points)

    def teardown(self) -> None:
        try:
            self.run(self.settle())
            for instance in self.instances:
                self.run(instance.close())
        finally:
            self.runner.close()


class Watched(Truth):
    """The records, between whose reads everything else goes on."""

    def __init__(self, machine: Shards) -> None:
        super().__init__()
        self.held = machine.truth.held
        self._machine = machine

    async def point_page(self, project: Project, after: str | None, size: int) -> list[Point]:
        await self._machine.compare()
        found = await super().point_page(project, after, size)
        await self._machine.step()  # the page is old before it is written
        return found

    async def points(self, project: Project, ids: Sequence[str]) -> list[Point]:
        await self._machine.step()
        found = await super().points(project, ids)
        await self._machine.step()
        return found


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_moves, "PAGE", 3)


def test_a_sharded_index_is_one_index() -> None:
    run_state_machine_as_test(
        Shards, settings=settings(max_examples=often(15, 30), stateful_step_count=20)
    )


async def nothing(*_: Any, **__: Any) -> None:
    """In place of what should be done."""


def reads_of_the_next_phase(plan: Plan, shard_map: ShardMap) -> None:
    real_plan(plan, shard_map)
    plan._reader = shard_map.after.owner  # type: ignore[assignment]


async def stale_for_ever(index: ShardedVectors) -> Plan:
    if index._plan is None:
        await real_current(index)
    assert index._plan is not None
    return index._plan


real_plan, real_current = Plan.__init__, ShardedVectors._current
FAULTS: dict[str, tuple[Any, str, Any]] = {
    "nobody waits between phases": (Shards, "paused", nothing),
    "nothing is copied": (Rebalancing, "_copy", nothing),
    "old copies stay": (Rebalancing, "_clean", nothing),
    "reads go where nothing has been copied yet": (Plan, "__init__", reads_of_the_next_phase),
    "maps are never read again": (ShardedVectors, "_current", stale_for_ever),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*FAULTS[fault])
    found = settings(max_examples=200, stateful_step_count=20, phases=[Phase.generate])
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(Shards, settings=found)
