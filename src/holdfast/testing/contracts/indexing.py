"""The contract of `ports.IndexSource`, sentence by sentence, for what a record store gives."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from holdfast.core.points import point_of
from holdfast.filters import Compare
from holdfast.model import ANY, Entity, Project
from holdfast.ports import (
    EditMemory,
    IndexSource,
    RemoveMemories,
    Reset,
    SetVectors,
    build_number,
    held_number,
)
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    BOB,
    NOW,
    RED,
    commit,
    put,
    turns,
    vector,
)
from holdfast.testing.replica import Store

EVERYBODY = Entity("user", ANY)
_PAGES_MAX = 100
ODD = "red:blue;%_'\u00e9"
"""A project that careless names of numbers would take for another."""


async def all_changes(
    source: IndexSource, since: int, size: int, project: Project = RED
) -> tuple[list[set[str]], int]:
    """Every change after a generation, page by page, and up to where."""
    pages: list[set[str]] = []
    for _ in range(_PAGES_MAX):
        found = await source.changes(project, since, size)
        assert not found.lost
        assert len(set(found.ids)) == len(found.ids)
        assert found.upto >= since
        since = found.upto
        pages.append(set(found.ids))
        if not found.more:
            return pages, since
    raise AssertionError("the changes have no end")


class IndexSourceContract(StoreFixtures):
    """Override the fixture `make`, with a store of its own for each test."""

    @pytest.fixture
    def source(self, store: Store) -> IndexSource:
        """What the store gives an index."""
        return cast("IndexSource", cast("Any", store).indexing)

    async def test_a_standing_is_state_and_numbers_in_one(
        self, store: Store, source: IndexSource
    ) -> None:
        empty = await source.standing(RED, ALICE, "x")
        assert (empty.generation, empty.memories, empty.build, empty.held) == (0, 0, 0, -1)
        await commit(store, put("a"), put("b", "milk"), put("c", "rice", user_id="bob"))
        for entity in (ALICE, BOB, EVERYBODY):
            state, standing = (
                await store.state(RED, entity),
                await source.standing(RED, entity, "x"),
            )
            assert (standing.generation, standing.memories) == (state.generation, state.memories)
            assert standing.held == -1
        generation = state.generation
        assert await source.move(held_number("x", 0, RED), None, generation)
        assert (await source.standing(RED, ALICE, "x")).held == generation
        for project, index in ((BLUE, "x"), (RED, "y")):
            assert (await source.standing(project, ALICE, index)).held == -1
        assert await source.move(build_number("x"), None, 3)
        assert await source.move(held_number("x", 3, RED), None, 1)
        standing = await source.standing(RED, ALICE, "x")
        assert (standing.build, standing.held) == (3, 1)

    async def test_what_is_held_is_not_after_all_was_forgotten(
        self, store: Store, source: IndexSource
    ) -> None:
        await commit(store, put("a"))
        await commit(store, put("b"), project=BLUE)
        for project in (RED, BLUE):
            await source.move(held_number("x", 0, project), None, 1_000 - 999)
            last = (await source.changes(project, -1, 9)).upto
            await source.move(held_number("x", 0, project), 1, last)
        assert (await source.standing(RED, ALICE, "x")).held > 0
        await commit(store, Reset())
        assert (await source.standing(RED, ALICE, "x")).held == -1
        assert (await source.standing(BLUE, ALICE, "x")).held > 0

    async def test_an_excerpt_has_what_is_asked_for_and_its_neighbours(
        self, store: Store, source: IndexSource
    ) -> None:
        for n in range(20):
            await commit(store, put(f"m{n:02}", f"tea {n}"))
            await commit(store, put(f"b{n:02}", f"tea {n}", user_id="bob"))
        excerpt = await source.excerpt(RED, ALICE, ["m05", "m07", "nobody", "b03"], 0)
        names = [memory.id for memory in excerpt.memories]
        assert names == [f"m{n:02}" for n in range(2, 11)]
        assert [entry.id for entry in excerpt.entries] == names
        delta = await store.delta(RED, ALICE, None)
        assert set(excerpt.entries) <= set(delta.entries)
        assert set(excerpt.memories) <= set(delta.memories)
        latest = await source.excerpt(RED, ALICE, ["m00"], 2)
        assert [m.id for m in latest.memories] == ["m00", "m01", "m02", "m03", "m18", "m19"]
        assert (await source.excerpt(RED, ALICE, (), 0)).entries == ()
        assert (await source.excerpt(BLUE, ALICE, ["m05"], 5)).entries == ()
        many = [f"m{n:02}" for n in range(20)] * 40
        assert (await source.excerpt(RED, ALICE, many, 5)).memories == delta.memories

    async def test_an_excerpt_of_all_of_a_kind(self, store: Store, source: IndexSource) -> None:
        for n in range(6):
            await commit(store, put(f"a{n}", f"tea {n}"), put(f"b{n}", f"tea {n}", user_id="bob"))
        await commit(store, put("agent", user_id=None, agent_id="x"))
        excerpt = await source.excerpt(RED, EVERYBODY, ["a0", "agent"], 0)
        assert {"a0", "a1", "a2", "a3"} <= {memory.id for memory in excerpt.memories}
        assert "agent" not in {memory.id for memory in excerpt.memories}
        every = await source.excerpt(RED, EVERYBODY, (), 100)
        assert {memory.id for memory in every.memories} == {
            *(f"a{n}" for n in range(6)),
            *(f"b{n}" for n in range(6)),
        }

    async def test_an_excerpt_brings_what_turns_have_told(
        self, store: Store, source: IndexSource
    ) -> None:
        await commit(store, turns("t"))
        await commit(store, put("raw", "I like tea", turns=["t"], kind="turn", listed=False))
        for n in range(9):
            await commit(store, put(f"m{n}", f"between {n}"))
        await commit(store, put("fact", "likes tea", turns=["t"]))
        excerpt = await source.excerpt(RED, ALICE, ["raw"], 0)
        assert "fact" in {memory.id for memory in excerpt.memories}
        assert ("raw", "fact") in excerpt.told

    async def test_dated_memories(self, store: Store, source: IndexSource) -> None:
        for n in range(9):
            await commit(store, put(f"m{n}", f"tea {n}", event_at=NOW + n))
        await commit(store, put("b", user_id="bob", event_at=NOW + 2))
        spans = [(NOW + 1, NOW + 3), (NOW + 7, NOW + 8)]
        assert await source.dated(RED, ALICE, spans, 10) == ["m7", "m2", "m1"]
        assert await source.dated(RED, ALICE, spans, 2) == ["m7", "m2"]
        assert await source.dated(RED, ALICE, [], 10) == []
        assert await source.dated(BLUE, ALICE, spans, 10) == []
        assert set(await source.dated(RED, EVERYBODY, spans, 10)) == {"m7", "m2", "m1", "b"}

    async def test_projects_that_changed_are_told(self, store: Store, source: IndexSource) -> None:
        await commit(store, put("a"))
        first, last = await source.touched(-1)
        assert set(first) == {RED}
        await commit(store, put("a"), project=BLUE)
        await commit(store, put("a"), project=Project(ODD))
        later, after = await source.touched(last)
        assert set(later) == {BLUE, Project(ODD)}
        assert after >= max(later.values()) > last
        assert await source.touched(after) == ({}, after)
        await commit(store, Reset())
        assert set((await source.touched(after))[0]) == {RED}, "also what was emptied"
        await commit(store, put("x"), RemoveMemories(filter=Compare("id", "eq", "x"), at=NOW))
        assert RED in (await source.touched(after))[0]

    async def test_sizes_count_every_memory(self, store: Store, source: IndexSource) -> None:
        assert dict(await source.sizes()) == {}
        await commit(store, put("a"), put("b", "raw", kind="turn", listed=False))
        await commit(store, put("c", "new", supersedes=["a"]))
        await commit(store, put("a"), project=BLUE)
        assert dict(await source.sizes()) == {RED: 3, BLUE: 1}

    async def test_changes_come_in_order_and_once(self, store: Store, source: IndexSource) -> None:
        await commit(store, put("first"))
        since = (await source.changes(RED, -1, 9)).upto
        for n in range(10):
            await commit(store, put(f"m{n}", f"tea {n}", agent_id="x", run_id="r"))
        await commit(store, put("other"), project=BLUE)
        for size in (1, 3, 10, 100):
            pages, upto = await all_changes(source, since, size)
            assert set().union(*pages) == {f"m{n}" for n in range(10)}
            assert len(pages) >= 10 // (size + 1)
        await commit(
            store,
            EditMemory(memory_id="m1", at=NOW, metadata={"k": 1}),
            SetVectors(vectors=(("m2", vector(1.0)),)),
            RemoveMemories(filter=Compare("id", "eq", "m3"), at=NOW),
        )
        await commit(store, put("new", "newer", supersedes=["m4"]))
        pages, last = await all_changes(source, upto, 100)
        assert set().union(*pages) == {"m1", "m2", "m3", "m4", "new"}
        assert await all_changes(source, last, 100) == ([set()], last)

    async def test_a_generation_is_never_cut(self, store: Store, source: IndexSource) -> None:
        since = (await source.changes(RED, -1, 9)).upto
        await commit(store, *(put(f"m{n}", f"tea {n}") for n in range(20)))
        await commit(store, put("late"))
        pages, _ = await all_changes(source, since, 5)
        assert {f"m{n}" for n in range(20)} in [page - {"late"} for page in pages]

    async def test_forgotten_changes_are_lost(self, store: Store, source: IndexSource) -> None:
        await commit(store, put("a"))
        start = await source.changes(RED, -1, 9)
        assert start.lost, "nobody knows what was before"
        await commit(store, Reset())
        await commit(store, put("b"))
        after = await source.changes(RED, start.upto, 9)
        assert after.lost
        assert after.upto > start.upto
        assert not (await source.changes(RED, after.upto, 9)).lost

    async def test_points_are_what_the_memories_have(
        self, store: Store, source: IndexSource
    ) -> None:
        await commit(store, put("a", vec=vector(1.0), agent_id="x"), put("b", "milk"))
        await commit(store, put("a", "theirs"), project=BLUE)
        points = {p.id: p for p in await source.points(RED, ["b", "nobody", "a"])}
        assert set(points) == {"a", "b"}
        assert points["a"] == point_of("a", ("alice", "x", None, None), vector(1.0), b"")
        assert points["a"].entities == (ALICE, Entity("agent", "x"))
        assert points["b"].vector is None
        before = points["b"].mark
        await commit(store, SetVectors(vectors=(("b", vector(0.0, 1.0)),)))
        [b] = await source.points(RED, ["b"])
        assert (b.vector, b.mark == before) == (vector(0.0, 1.0), False)
        assert await source.points(RED, []) == []

    async def test_pages_of_points_have_each_once(self, store: Store, source: IndexSource) -> None:
        ids = [f"m{n:02}" for n in range(25)] + ["a b", "Ü", "'"]
        await commit(store, *(put(id_, f"text of {id_}") for id_ in ids))
        await commit(store, put("x"), project=BLUE)
        for size in (1, 7, 100):
            found: list[str] = []
            after: str | None = None
            while page := await source.point_page(RED, after, size):
                assert len(page) <= size
                found += [point.id for point in page]
                after = page[-1].id
                assert len(found) < 1_000, "the pages have no end"
            assert sorted(found) == sorted(ids)
            assert len(found) == len(ids)

    async def test_numbers_move_from_what_is_expected(self, source: IndexSource) -> None:
        assert await source.number("index:x") is None
        assert not await source.move("index:x", 1, 2)
        assert await source.move("index:x", None, 2**62)
        assert not await source.move("index:x", None, 3)
        assert not await source.move("index:x", 1, 3)
        assert await source.number("index:x") == 2**62
        assert await source.move("index:x", 2**62, 0)
        assert not await source.move("index:x", 5, None)
        assert await source.move("index:x", 0, None)
        assert await source.number("index:x") is None
        assert await source.move("index:x", None, None)

    async def test_one_of_many_moves_a_number(self, source: IndexSource) -> None:
        moves = (source.move("index:lease", None, n) for n in range(8))
        assert sorted(await asyncio.gather(*moves)) == [False] * 7 + [True]

    async def test_numbers_are_found_by_how_they_begin(self, source: IndexSource) -> None:
        names = [held_number("x", 1, project) for project in ("", "red", ODD, "\uffff")]
        others = [held_number("x", 11, "red"), held_number("y", 1, "red"), "index:x:held:1"]
        for number, name in enumerate([*names, *others]):
            assert await source.move(name, None, number)
        assert await source.numbers(held_number("x", 1)) == {n: i for i, n in enumerate(names)}
