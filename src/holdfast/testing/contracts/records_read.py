"""What a record store answers when it is asked."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec.structs import replace

from holdfast.core.visibility import visible
from holdfast.directory import Held
from holdfast.errors import ValidationError
from holdfast.filters import And, Compare, Filter, Not, Or, matches
from holdfast.model import (
    ANY,
    Census,
    Entity,
    Memory,
    Source,
)
from holdfast.ports import EditMemory, Op, PutMemory, PutRows, RemoveMemories, SetVectors, View
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.rows import sample
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    BOB,
    NOW,
    RED,
    commit,
    events,
    listed,
    listing,
    put,
    put_job,
    raw,
    replica,
    turns,
    vector,
)
from holdfast.testing.hostile import STORABLE
from holdfast.testing.replica import Replica, Store

DAY = 86_400.0


async def varied(store: Store) -> list[Memory]:
    """Memories that differ in everything views and filters look at, in order of insertion."""
    ops: list[PutMemory] = []
    choices = product((True, False), (None, "2023-11-13", "2023-11-14"), (NOW - 9, NOW + 9))
    for n, (shown, expiry, moment) in enumerate(choices):
        op = put(
            f"m{n}",
            f"text {n % 5}",
            identity=bytes([n]),
            listed=shown,
            expires_on=expiry,
            event_at=moment,
            valid_from=None if n % 2 else NOW - 5,
            user_id="alice" if n % 3 else "bob",
            metadata={"n": n % 4} if n % 2 else None,
            supersedes=[f"m{n - 4}"] if n % 5 == 4 else [],
        )
        ops.append(op)
    await commit(store, *ops)
    return await store.fetch(RED, [op.memory.id for op in ops])


FLAGS = (False, True)
VIEWS = [
    View(now=now, as_of=as_of, show_expired=expired, show_superseded=superseded, listed_only=shown)
    for now, as_of in product((NOW, NOW + DAY), (None, NOW - 9, NOW - 5, NOW, NOW + 9))
    for expired, superseded, shown in product(FLAGS, FLAGS, FLAGS)
]
FILTERS: list[Filter] = [
    Compare("user_id", "eq", "alice"),
    Compare("metadata.n", "gte", 2),
    Compare("text", "contains", "3"),
    Not(Compare("metadata.n", "eq", 1)),
    Or((Compare("user_id", "eq", "bob"), Compare("event_at", "gt", NOW))),
    And((Compare("id", "in", ("m1", "m2", "m5")), Compare("expires_on", "*"))),
]


class FetchContract(StoreFixtures):
    """`fetch` and `turns`."""

    async def test_sources_tell_turns_and_quotes(self, store: Store) -> None:
        await commit(store, turns("t2", "t1"), put("f", "likes tea", turns=["t1", "nowhere", "t2"]))
        await commit(store, turns("t1", "t0"), project=BLUE)
        await commit(store, put("f", "other words", turns=["t1", "t0"]), project=BLUE)
        again = [Source(turn_id="t1", quote="new"), Source(turn_id="t2", quote="new")]
        await commit(store, replace(put("g", "likes tea"), sources=tuple(again)))
        expected = [Source(turn_id="t2", quote="lik"), Source(turn_id="t1", quote="lik")]
        assert await store.sources(RED, "f") == expected
        assert await store.sources(RED, "g") == await store.sources(RED, "nobody") == []

    async def test_what_exists_comes_in_the_order_asked_for(self, store: Store) -> None:
        await commit(store, turns("t", "u"), put("a", "one"), put("b", "two", supersedes=["a"]))
        assert [m.id for m in await store.fetch(RED, ["b", "x", "a", "b"])] == ["b", "a", "b"]
        assert [t.id for t in await store.turns(RED, ["u", "x", "t", "u"])] == ["u", "t", "u"]
        assert await store.fetch(RED, []) == []
        assert await store.turns(RED, []) == []

    async def test_many_can_be_asked_for(self, store: Store) -> None:
        names = [f"m{n}" for n in range(600)]
        await commit(store, turns(*names), *(put(name, name) for name in names))
        assert [m.id for m in await store.fetch(RED, names[::-1])] == names[::-1]
        assert [t.id for t in await store.turns(RED, names[::-1])] == names[::-1]


class PageContract(StoreFixtures):
    """`page`."""

    async def test_views_show_what_visible_defines(self, store: Store) -> None:
        memories = await varied(store)
        for view in VIEWS:
            wanted = [memory.id for memory in memories if visible(memory, view)]
            page = await store.page(RED, listing(view=view))
            assert [memory.id for memory in page.memories] == wanted[::-1], view
            assert page.total == len(wanted)
            assert list(page.memories) == [m for m in memories[::-1] if visible(m, view)]

    async def test_filters_select_what_matches_defines(self, store: Store) -> None:
        memories = await varied(store)
        everything = View(now=NOW, show_expired=True, listed_only=False)
        current = [memory for memory in memories if visible(memory, everything)]
        for tree in FILTERS:
            wanted = [memory.id for memory in current if matches(tree, memory)]
            assert wanted, "a filter of the contract selects something"
            assert await listed(store, tree, view=everything, oldest_first=True) == wanted

    async def test_hostile_texts_can_be_filtered_by(self, store: Store) -> None:
        for n, text in enumerate(STORABLE):
            await commit(store, put(f"m{n}", text, identity=bytes([n]), metadata={text: text}))
        for n, text in enumerate(STORABLE):
            for field in ("text", f"metadata.{text}"):
                assert await listed(store, Compare(field, "eq", text)) == [f"m{n}"]

    async def test_pages_follow_each_other_by_cursor(self, store: Store) -> None:
        names = [f"m{n}" for n in (5, 3, 9, 1, 7, 0, 2)]
        for name in names:
            await commit(store, put(name, name))
        for size, oldest in product((1, 2, 3, 7, 8), (False, True)):
            seen: list[str] = []
            cursor = None
            for _ in names:
                ask = listing(size=size, cursor=cursor, oldest_first=oldest)
                page = await store.page(RED, ask)
                assert page.total == len(names)
                assert len(page.memories) <= size
                seen += [memory.id for memory in page.memories]
                cursor = page.cursor
                if cursor is None:
                    break
            assert cursor is None, "as many pages as memories must be enough"
            assert seen == (names if oldest else names[::-1])

    async def test_a_cursor_stays_good_while_others_write(self, store: Store) -> None:
        for n in range(6):
            await commit(store, put(f"m{n}", f"text {n}"))
        first = await store.page(RED, listing(size=2))
        gone = RemoveMemories(filter=Compare("id", "in", ("m4", "m2")), at=NOW)
        await commit(store, gone, put("new", "new"))
        rest = await store.page(RED, listing(size=9, cursor=first.cursor))
        assert [m.id for m in first.memories] == ["m5", "m4"]
        assert [m.id for m in rest.memories] == ["m3", "m1", "m0"]
        assert (rest.total, rest.cursor) == (5, None)

    async def test_a_cursor_is_none_in_another_project(self, store: Store) -> None:
        for project in (RED, BLUE):
            await commit(store, put("a", "one"), put("b", "two"), project=project)
        cursor = (await store.page(RED, listing(size=1))).cursor
        assert await listed(store, cursor=cursor) == ["a"]
        with pytest.raises(ValidationError):
            await store.page(BLUE, listing(cursor=cursor))

    async def test_a_cursor_does_not_tell_what_other_projects_write(self, store: Store) -> None:
        """Neighbouring places of a listing have nothing in common that could be counted by."""
        for n in range(32):
            await commit(store, put(f"m{n}", f"text {n}"))
        cursors = [(await store.page(RED, listing(size=n))).cursor or "" for n in range(1, 32)]
        assert len({len(cursor) for cursor in cursors}) == 1
        assert len({cursor[: len(cursor) // 2] for cursor in cursors}) == 31
        assert len({cursor[len(cursor) // 2 :] for cursor in cursors}) == 31

    async def test_an_offset_passes_over(self, store: Store) -> None:
        for n in range(5):
            await commit(store, put(f"m{n}", f"text {n}"))
        first = await store.page(RED, listing(size=1, offset=1))
        assert ([m.id for m in first.memories], first.total) == (["m3"], 5)
        assert await listed(store, cursor=first.cursor, offset=1) == ["m1", "m0"]
        assert await listed(store, offset=5) == []

    async def test_no_more_pages_means_no_cursor(self, store: Store) -> None:
        assert (await store.page(RED, listing())).cursor is None
        await commit(store, put("a", "one"), put("b", "two"))
        assert (await store.page(RED, listing(size=2))).cursor is None
        assert (await store.page(RED, listing(size=1))).cursor is not None

    async def test_a_cursor_that_is_none_is_refused(self, store: Store) -> None:
        for cursor in ("", "x", "m1", "bjE6LTE", "🎉"):
            with pytest.raises(ValidationError):
                await store.page(RED, listing(cursor=cursor))


class EntityContract(StoreFixtures):
    """`entities`, `state`, `delta`."""

    async def test_entities_are_those_with_memories_in_order(self, store: Store) -> None:
        await commit(
            store,
            put("a", "one", run_id="r", agent_id="b"),
            put("b", "two", user_id=None, agent_id="a", app_id="Z"),
            put("c", "three", user_id="Zoë"),
            put("d", "four", user_id="gone"),
        )
        gone = RemoveMemories(filter=Compare("user_id", "eq", "gone"), at=NOW)
        await commit(store, gone)
        found, counts = await store.entities(RED, 0, 10)
        names = [(each.kind, each.id) for each in found]
        assert names == [
            ("agent", "a"),
            ("agent", "b"),
            ("app", "Z"),
            ("run", "r"),
            ("user", "Zoë"),
            ("user", "alice"),
        ]
        assert counts == {"agent": 2, "app": 1, "run": 1, "user": 2}
        for offset, size in ((0, 2), (2, 3), (5, 5), (6, 1), (0, 0)):
            page, again = await store.entities(RED, offset, size)
            assert (page, again) == (found[offset : offset + size], counts)

    async def test_entities_count_what_is_listed_and_current(self, store: Store) -> None:
        await commit(store, put("a", "one"), put("b", "two", supersedes=["a"]))
        await commit(store, put("c", "three", listed=False), put("d", expires_on="1999-01-01"))
        [[alice], _] = await store.entities(RED, 0, 10)
        assert alice.memories == 2

    async def test_entities_tell_when_they_were_written_to(self, store: Store) -> None:
        await commit(store, put("a", "one", updated_at=NOW))
        await commit(store, put("b", "two", updated_at=NOW + 1), put("c", updated_at=NOW + 3))
        await commit(store, EditMemory(memory_id="a", at=NOW + 2, listed=False))
        await commit(store, SetVectors(vectors=(("a", vector(1)),)))
        await commit(store, put("d", user_id="bob", updated_at=NOW + 9))
        [[alice, _], _] = await store.entities(RED, 0, 10)
        assert (alice.created_at, alice.updated_at) == (NOW, NOW + 3)
        await commit(store, RemoveMemories(filter=Compare("id", "eq", "a"), at=NOW + 20))
        [[alice, _], _] = await store.entities(RED, 0, 10)
        assert (alice.created_at, alice.updated_at) == (NOW, NOW + 20)

    async def test_state_counts_everything_an_entity_has(self, store: Store) -> None:
        assert (await store.state(RED, ALICE)).memories == 0
        assert (await store.state(RED, ALICE)).generation == 0
        await commit(store, put("a", "one"), put("b", "two", supersedes=["a"]))
        await commit(
            store, put("c", listed=False), put("d", user_id="bob", expires_on="1999-01-01")
        )
        assert (await store.state(RED, ALICE)).memories == 3
        assert (await store.state(RED, BOB)).memories == 1
        assert (await store.state(RED, Entity("user", ANY))).memories == 4
        assert (await store.state(RED, Entity("agent", ANY))).memories == 0

    async def test_every_write_changes_the_generation(self, store: Store) -> None:
        await commit(store, put("other", user_id="bob"), turns("t", "u"))
        others = (await store.state(RED, BOB)).generation
        writes: list[Op] = [
            put("r", "said", turns=["t"], kind="turn", listed=False, agent_id="x"),
            put("a", "tea", turns=["t"], agent_id="ends"),
            put("b", "tea", turns=["u"], agent_id="ends"),
            put("c", "milk", supersedes=["a"]),
            EditMemory(memory_id="c", at=NOW, text="water"),
            EditMemory(memory_id="c", at=NOW, metadata={"k": 1}),
            EditMemory(memory_id="c", at=NOW, event_at=1.0),
            SetVectors(vectors=(("c", vector(1)),)),
            RemoveMemories(filter=Compare("id", "eq", "c"), at=NOW),
        ]
        seen = {(await store.state(RED, ALICE)).generation}
        ending = Entity("agent", "ends")
        for op in writes:
            before = (await store.state(RED, ending)).generation
            await commit(store, op)
            if isinstance(op, PutMemory) and "a" in op.supersedes:
                assert (await store.state(RED, ending)).generation != before, "what ends changes"
            assert (await store.state(RED, ALICE)).generation not in seen, op
            assert (await store.state(RED, Entity("user", ANY))).generation not in seen, op
            seen.add((await store.state(RED, ALICE)).generation)
        assert (await store.state(RED, Entity("agent", "x"))).generation > 0
        assert (await store.state(RED, BOB)).generation == others

    async def test_a_complete_delta_is_everything(self, store: Store) -> None:
        await commit(store, turns("t"), raw("r", "t"), put("z", "tea", turns=["t"]))
        await commit(
            store, put("a", "milk", supersedes=["z"], vec=vector(1), expires_on="1999-12-31")
        )
        await commit(store, put("other", user_id="bob"))
        delta = await store.delta(RED, ALICE, None)
        assert delta.complete
        assert delta.generation == (await store.state(RED, ALICE)).generation
        assert [memory.id for memory in delta.memories] == ["r", "z", "a"]
        assert list(delta.memories) == await store.fetch(RED, ["r", "z", "a"])
        assert set(delta.told) == {("r", "z")}
        [_, ended, last] = delta.entries
        assert (last.id, last.event_time, last.vector) == ("a", NOW, vector(1))
        assert (last.expires_at, last.valid_to, last.kind) == (946_684_800.0, None, "fact")
        assert ended.valid_to == NOW
        assert (await replica(store, Entity("user", ANY))).order == ["r", "z", "a", "other"]

    async def test_deltas_lead_from_any_state_to_the_present(self, store: Store) -> None:
        readers = [Replica()]
        await commit(store, turns("t", "u"), put("other", user_id="bob"))
        for op in (
            raw("r", "t"),
            put("a", "tea", turns=["t"]),
            put("b", "milk", run_id="x"),
            put("c", "tea", turns=["u"]),
            EditMemory(memory_id="b", at=NOW, text="water", event_at=1.0),
            put("d", "coffee", supersedes=["a"]),
            EditMemory(memory_id="a", at=NOW, listed=False),
            SetVectors(vectors=(("d", vector(1)),)),
            RemoveMemories(filter=Compare("id", "eq", "a"), at=NOW),
            put("a", "wine"),
            RemoveMemories(filter=Compare("id", "eq", "b"), at=NOW),
        ):
            await commit(store, op)
            fresh = await replica(store)
            for reader in readers:
                await reader.refresh(store, ALICE, RED)
                assert reader.known == fresh.known, op
            readers = [*readers[-3:], fresh]
        lagging = Replica()
        assert (await lagging.refresh(store, ALICE, RED)).complete

    async def test_a_reader_of_an_unchanged_entity_gets_nothing_new(self, store: Store) -> None:
        await commit(store, put("a", "tea"))
        reader = await replica(store)
        await commit(store, put("b", "milk", user_id="bob"))
        delta = await store.delta(RED, ALICE, reader.generation)
        assert delta.generation == reader.generation
        if not delta.complete:
            assert (delta.entries, delta.removed) == ((), ())


class StatsContract(StoreFixtures):
    """`stats`, and `history` of what never was."""

    async def test_stats_count(self, store: Store) -> None:
        await commit(store, turns("t", "u"), raw("r", "t", agent_id="x"), put("a", vec=vector(1)))
        await commit(store, put("b", "two", supersedes=["a"], user_id="bob"), put_job("j"))
        await commit(store, put_job("k", state="FAILED"), put("other"))
        await commit(store, turns("t"), put("blue", vec=vector(1)), project=BLUE)
        stats = dict(await store.stats(RED))
        assert stats.pop("bytes") >= 0
        assert stats == {
            "memories": 2,
            "superseded": 1,
            "turns": 2,
            "vectors": 1,
            "history_events": 5,
            "entities": {"user": 2, "agent": 1},
            "jobs": {"PENDING": 1, "FAILED": 1},
        }

    async def test_a_census_counts_all_projects(self, store: Store) -> None:
        assert await store.census(NOW) == Census(
            memories=0, vectors=0, users=0, jobs_waiting=0, jobs_running=0, jobs_failed=0, held=0,
            oldest_due_s=0.0,
        )  # fmt: skip
        await commit(store, put("a", vec=vector(1)), put("x", user_id=None, agent_id="bot"))
        await commit(store, put("b", "two", supersedes=["a"], user_id="bob"), put_job("j"))
        await commit(store, put_job("k", state="FAILED"), put_job("l", run_after=NOW + 60))
        await commit(store, put("blue", vec=vector(1)), put_job("m", project=BLUE), project=BLUE)
        assert await store.lease("me", NOW, 1.0) is not None
        census = await store.census(NOW + 30)
        assert (census.memories, census.vectors) == (3, 2)
        assert (census.jobs_waiting, census.jobs_running, census.jobs_failed) == (2, 1, 1)
        assert census.oldest_due_s == 30.0
        assert census.users == 3, "alice and bob of one project, alice of the other"
        theirs = sample(Held, id="theirs", project="blue")
        await commit(store, PutRows(rows=(sample(Held),)))
        await commit(store, PutRows(rows=(theirs,)), project=BLUE)
        assert (await store.census(NOW)).held == 2

    async def test_what_never_was_has_no_history(self, store: Store) -> None:
        await commit(store, put("a"))
        assert await events(store, "b") == []
        assert await events(store, "a", BLUE) == []
