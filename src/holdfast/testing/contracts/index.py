"""The contract of `ports.Index`, sentence by sentence, for one that reads a record store."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise, product
from typing import Any

import pytest

from holdfast.core.text import analyze, analyze_query
from holdfast.core.visibility import visible
from holdfast.filters import Compare, Everything, Filter, Not, Nothing, matches
from holdfast.model import ANY, Entity, IndexTerms, Memory, Project
from holdfast.ports import (
    EditMemory,
    Hit,
    Index,
    Probe,
    PutMemory,
    QueryEmbedding,
    RemoveMemories,
    Reset,
    SetVectors,
    View,
)
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    BOB,
    NOW,
    RED,
    SPACE,
    Make,
    commit,
    put,
    turns,
    vector,
)
from holdfast.testing.replica import Store

Over = Callable[[Store], Index]
"""Makes an index over an open record store."""

EAST, NORTH = (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)
EVERYTHING = View(now=NOW, show_expired=True, listed_only=False)


def said(
    id_: str,
    text: str,
    direction: Sequence[float] = EAST,
    *,
    speaker: str | None = None,
    **fields: Any,
) -> PutMemory:
    """A memory with the terms of its text and of its speaker's name."""
    found = analyze(text, actor=speaker, role=fields.get("role"))
    terms = IndexTerms(
        terms=found.terms, flags=found.flags, words=found.words, speaker=found.speaker
    )
    vec = struct.pack("<4f", *direction)
    return put(id_, text, terms=terms, vec=vec, identity=id_.encode(), **fields)


async def search(
    index: Index,
    text: str = "tea",
    entities: Sequence[Entity] = (ALICE,),
    *,
    project: Project = RED,
    **fields: Any,
) -> list[Hit]:
    """The answer to a question; its embedding points east."""
    import numpy as np

    east = QueryEmbedding(vector=np.array(EAST, dtype=np.float32))
    fields = {"filter": Everything(), "view": EVERYTHING, "limit": 100, "embedding": east, **fields}
    probe = Probe(entities=tuple(entities), query=analyze_query(text), **fields)
    return list((await index.search(project, probe)).hits)


async def found(index: Index, *args: Any, **fields: Any) -> list[str]:
    """The ids of an answer."""
    return [hit.memory.id for hit in await search(index, *args, **fields)]


class IndexContract(StoreFixtures):
    """Override the fixtures `make` (a record store) and `over` (an index over one)."""

    @pytest.fixture
    def over(self) -> Over:
        """A function that makes an index over an open record store."""
        return pytest.fail("override the fixture `over` with one that makes your index")

    @pytest.fixture
    async def index(self, store: Store, over: Over) -> AsyncIterator[Index]:
        """An index over `store`."""
        made = over(store)
        yield made
        await made.close()

    async def test_the_best_come_first_with_scores_in_0_to_1(
        self, store: Store, index: Index
    ) -> None:
        await commit(
            store,
            said("far", "the car needs tyres", NORTH),
            said("best", "green tea every morning"),
            said("near", "coffee every morning", (0.8, 0.6, 0.0, 0.0)),
        )
        hits = await search(index, "green tea")
        assert hits[0].memory.id == "best"
        assert {hit.memory.id for hit in hits} == {"best", "near", "far"}
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 <= score <= 1.0 for score in scores)
        assert all(isinstance(part, float) for hit in hits for part in hit.parts.values())
        assert [hit.memory for hit in hits] == await store.fetch(RED, [h.memory.id for h in hits])

    async def test_at_most_limit_and_as_many_as_there_are(self, store: Store, index: Index) -> None:
        await commit(store, *(said(f"m{n}", f"tea number {n}") for n in range(9)))
        whole = await found(index)
        assert sorted(whole) == [f"m{n}" for n in range(9)]
        for limit in (0, 1, 4, 9, 10):
            assert await found(index, limit=limit) == whole[:limit]
        assert await found(index, entities=[Entity("user", "nobody")]) == []
        assert await found(index, entities=[]) == []

    async def test_what_is_outside_the_fence_is_not_there_and_shows_in_no_score(
        self, store: Store, index: Index
    ) -> None:
        own = [said(f"own{n}", f"tea number {n}", agent_id="mine") for n in range(3)]
        others = [said(f"other{n}", "tea for two", NORTH, agent_id="theirs") for n in range(5)]
        fence = Compare("agent_id", "in", ("mine",))
        await commit(store, own[0], own[1])
        alone = await search(index, "tea for two", fence=fence)
        await commit(store, *others)
        assert await search(index, "tea for two", fence=fence) == alone
        assert sorted(hit.memory.id for hit in alone) == ["own0", "own1"]
        await commit(store, own[2])
        assert len(await search(index, "tea for two", fence=fence)) == 3
        assert len(await search(index, "tea for two")) == 8

    async def test_what_is_found_matches_the_filter(self, store: Store, index: Index) -> None:
        await commit(
            store,
            *(said(f"m{n}", f"tea {n}", metadata={"n": n}, categories=("c",)) for n in range(40)),
        )
        trees: list[Filter] = [
            Compare("metadata.n", "gte", 38),
            Not(Compare("metadata.n", "gt", 1)),
            Compare("text", "eq", "tea 7"),
            Compare("user_id", "eq", "bob"),
            Nothing(),
        ]
        memories = await store.fetch(RED, [f"m{n}" for n in range(40)])
        for tree in trees:
            wanted = {memory.id for memory in memories if matches(tree, memory)}
            assert set(await found(index, filter=tree, limit=5)) == wanted

    async def varied(self, store: Store) -> list[Memory]:
        """Memories that views tell apart."""
        await commit(
            store,
            said("old", "tea from Assam", event_at=NOW - 50, valid_from=NOW - 60),
            said("late", "tea tomorrow", event_at=NOW + 50),
            said("gone", "tea for a day", expires_on="2023-11-13", event_at=NOW - 9),
            said("raw", "tea, said raw", kind="turn", listed=False),
        )
        await commit(store, said("new", "tea from Ceylon", supersedes=["old"]))
        return await store.fetch(RED, ["old", "late", "gone", "raw", "new"])

    async def test_what_is_found_is_visible(self, store: Store, index: Index) -> None:
        memories = await self.varied(store)
        for as_of in (None, NOW - 100, NOW - 60, NOW - 10, NOW, NOW + 50):
            for expired, superseded in product((False, True), repeat=2):
                view = View(
                    now=NOW,
                    as_of=as_of,
                    show_expired=expired,
                    show_superseded=superseded,
                    listed_only=False,
                )
                wanted = {memory.id for memory in memories if visible(memory, view)}
                assert set(await found(index, view=view)) == wanted, view

    async def test_unlisted_turns_are_hidden_if_asked(self, store: Store, index: Index) -> None:
        memories = await self.varied(store)
        view = View(now=NOW, listed_only=True)
        wanted = {memory.id for memory in memories if visible(memory, view)}
        assert set(await found(index, view=view)) == wanted

    async def test_equal_scores_come_by_event_time_then_insertion(
        self, store: Store, index: Index
    ) -> None:
        moments = [("c", 5.0), ("a", 3.0), ("e", 5.0), ("b", 9.0), ("d", 3.0)]
        for id_, seconds in moments:
            await commit(store, said(id_, "tea", event_at=NOW + 86_400 * seconds, kind="summary"))
        hits = await search(index, "something else", embedding=None)
        order = [id_ for id_, _ in sorted(moments, key=lambda pair: pair[1])]
        for first, second in pairwise(hits):
            if first.score == second.score:
                assert order.index(first.memory.id) < order.index(second.memory.id)
        assert len({hit.score for hit in hits}) < len(hits), "some scores are equal"

    async def test_a_fact_takes_the_better_place_of_its_turn(
        self, store: Store, index: Index
    ) -> None:
        await commit(store, turns("t"), said("between", "some jasmine", (0.9, 0.43, 0.0, 0.0)))
        await commit(
            store,
            said("raw", "jasmine tea", turns=["t"], kind="turn", listed=False),
            said("fact", "she drinks jasmine tea", turns=["t"]),
        )
        names = await found(index, "jasmine tea")
        assert names[0] == ("raw" if "raw" in names else "fact")

    async def test_turns_that_are_left_out_make_room_for_others(
        self, store: Store, index: Index
    ) -> None:
        ids = [f"t{n}" for n in range(20)]
        await commit(store, turns(*ids))
        raws = (
            said(f"raw {id_}", f"some green tea {id_}", turns=[id_], kind="turn", listed=False)
            for id_ in ids
        )
        await commit(store, *raws, said("fact", "jasmine tea", turns=ids))
        await commit(store, *(said(f"other {n}", "the car", NORTH) for n in range(3)))
        for limit in (1, 2, 3, 4):
            assert len(await found(index, "jasmine tea", limit=limit)) == limit

    async def test_every_committed_write_is_seen(
        self, store: Store, index: Index, make: Make
    ) -> None:
        other = make()
        await other.open(SPACE)
        for writer in (store, other):
            await commit(writer, said("a", "tea"), said("b", "milk"))
            assert set(await found(index)) == {"a", "b"}
            await commit(writer, EditMemory(memory_id="a", at=NOW, text="x", metadata={"k": 1}))
            edited = {hit.memory.id: hit.memory for hit in await search(index)}
            assert (edited["a"].text, edited["a"].metadata) == ("x", {"k": 1})
            await commit(writer, SetVectors(vectors=(("a", vector(1)),)))
            await commit(writer, said("c", "water", supersedes=["b"], event_at=NOW - 9))
            assert set(await found(index)) == {"a", "c"}
            await commit(writer, RemoveMemories(filter=Compare("id", "eq", "c"), at=NOW))
            assert set(await found(index)) == {"a"}
            await commit(writer, Reset())
            assert await found(index) == []
        await other.close()

    async def test_a_warm_index_answers_like_a_fresh_one(
        self, store: Store, index: Index, over: Over
    ) -> None:
        for n in range(12):
            moment = NOW + 1_000 * ((n * 7) % 5)
            await commit(store, said(f"m{n}", f"tea {n % 4} of {n}", event_at=moment))
            if n % 3 == 2:
                await commit(store, EditMemory(memory_id=f"m{n - 1}", at=NOW, event_at=NOW - n))
            if n % 5 == 4:
                gone = RemoveMemories(filter=Compare("id", "eq", f"m{n - 3}"), at=NOW)
                await commit(store, gone)
            fresh = over(store)
            assert await search(index, "tea of 3") == await search(fresh, "tea of 3")
            await fresh.close()

    async def test_only_the_named_entities_are_searched(self, store: Store, index: Index) -> None:
        await commit(
            store,
            said("a", "tea", user_id="alice", run_id="r"),
            said("b", "tea", user_id="bob", run_id="r"),
            said("c", "tea", user_id="bob"),
            said("d", "tea", user_id=None, agent_id="x"),
        )
        assert set(await found(index, entities=[ALICE])) == {"a"}
        assert set(await found(index, entities=[BOB])) == {"b", "c"}
        assert sorted(await found(index, entities=[ALICE, BOB])) == ["a", "b", "c"]
        overlapping = [Entity("run", "r"), ALICE, Entity("agent", "x")]
        assert sorted(await found(index, entities=overlapping)) == ["a", "b", "d"]
        assert len(await found(index, entities=overlapping, limit=2)) == 2
        assert set(await found(index, entities=[Entity("user", ANY)])) == {"a", "b", "c"}

    async def test_projects_do_not_see_each_other(self, store: Store, index: Index) -> None:
        await commit(store, said("a", "tea"))
        await commit(store, said("b", "tea"), project=BLUE)
        assert await found(index) == ["a"]
        assert await found(index, project=BLUE) == ["b"]
        await commit(store, said("c", "tea"), project=BLUE)
        assert await found(index) == ["a"]

    async def test_names_are_those_of_who_speaks(self, store: Store, index: Index) -> None:
        await commit(
            store,
            said("a", "green tea", speaker="Caroline"),
            said("b", "coffee", speaker="Melanie", user_id="bob"),
        )
        await commit(store, said("c", "water", speaker="Nathan"), project=BLUE)
        names = await index.names(RED, [ALICE])
        told = {
            word
            for word in ("green", "tea", "coffee", "Caroline", "Melanie", "Nathan")
            for term in analyze_query(word).terms
            if any(value in names for value, _ in term.alternatives)
        }
        assert told <= {"Caroline"}

    async def test_keywords_answer_alone(self, store: Store, index: Index) -> None:
        await commit(store, said("a", "the car"), said("b", "green tea"), said("c", "a horse"))
        hits = await search(index, "green tea", embedding=None)
        assert hits[0].memory.id == "b"
        await commit(store, put("d", "no vector", identity=b"d"))
        assert "d" in await found(index)

    async def test_close_can_be_repeated(self, index: Index) -> None:
        await index.close()
        await index.close()
