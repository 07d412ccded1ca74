"""What a record store does when memories end: superseded, deleted, reset."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from holdfast.filters import And, Compare, Everything, Nothing, Or
from holdfast.model import Memory, Origin, Project, Scope
from holdfast.ports import EditMemory, RemoveMemories, Reset, View
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    BOB,
    NOW,
    RED,
    commit,
    events,
    listed,
    one,
    put,
    put_job,
    raw,
    replica,
    sure,
    turns,
    vector,
)
from holdfast.testing.replica import Store


def ids(*names: str) -> Or:
    """The filter for these memories."""
    return Or(tuple(Compare("id", "eq", name) for name in names))


def validity(memory: Memory) -> tuple[float | None, str | None]:
    """When a memory ended, and by whom."""
    return memory.valid_to, memory.superseded_by


class SupersedeContract(StoreFixtures):
    """`PutMemory.supersedes`."""

    async def test_a_memory_ends_where_its_successor_begins(self, store: Store) -> None:
        await commit(store, put("old", "Oslo", event_at=NOW - 50), put("older", "Rome"))
        new = put(
            "new", "Bergen", event_at=NOW + 10, updated_at=NOW + 20, supersedes=["old", "gone"]
        )
        assert await commit(store, new) == ["new"]
        old = await sure(store, "old")
        assert validity(old) == (NOW + 10, "new")
        assert (old.text, old.version, old.updated_at) == ("Oslo", 2, NOW + 20)
        assert validity(await sure(store, "older")) == (None, None)
        assert validity(await sure(store, "new")) == (None, None)
        assert await listed(store) == ["new", "older"]

    async def test_valid_from_is_the_beginning_if_there_is_one(self, store: Store) -> None:
        await commit(store, put("old", "Oslo", event_at=NOW - 50))
        await commit(
            store, put("new", "Bergen", event_at=NOW + 9, valid_from=NOW - 9, supersedes=["old"])
        )
        assert (await sure(store, "old")).valid_to == NOW - 9

    async def test_nothing_ends_before_it_began(self, store: Store) -> None:
        await commit(
            store, put("a", "Oslo", event_at=NOW), put("b", "Rome", event_at=0.0, valid_from=NOW)
        )
        await commit(store, put("new", "Bergen", event_at=NOW - 99, supersedes=["a", "b"]))
        assert (await sure(store, "a")).valid_to == NOW
        assert (await sure(store, "b")).valid_to == NOW

    async def test_what_has_ended_is_passed_over(self, store: Store) -> None:
        await commit(store, put("a", "one"), put("b", "two", event_at=NOW + 1, supersedes=["a"]))
        await commit(store, put("c", "three", event_at=NOW + 2, supersedes=["a", "c"]))
        assert validity(await sure(store, "a")) == (NOW + 1, "b")
        assert validity(await sure(store, "c")) == (None, None)
        assert await events(store, "a") == ["ADD", "SUPERSEDE"]

    async def test_history_tells_both_texts(self, store: Store) -> None:
        await commit(store, put("a", "one"))
        await commit(store, put("b", "two", updated_at=NOW + 5, supersedes=["a"]))
        event = (await store.history(RED, "a"))[-1]
        told = (event.event, event.old_memory, event.new_memory, event.updated_at)
        assert told == ("SUPERSEDE", "one", "two", NOW + 5)

    async def test_what_ended_may_become_true_again(self, store: Store) -> None:
        await commit(store, put("a", "Oslo"), put("b", "Bergen", supersedes=["a"]))
        assert await commit(store, put("c", "Oslo", supersedes=["b"])) == ["c"]
        assert await listed(store) == ["c"]

    async def test_a_duplicate_supersedes_all_the_same(self, store: Store) -> None:
        await commit(store, put("a", "Oslo"), put("b", "Bergen"))
        again = put("c", "Bergen", event_at=NOW + 3, supersedes=["a", "b"])
        assert await commit(store, again) == ["b"]
        assert validity(await sure(store, "a")) == (NOW + 3, "b")
        assert validity(await sure(store, "b")) == (None, None)

    async def test_the_turns_behind_end_as_well(self, store: Store) -> None:
        await commit(store, turns("t"), raw("r", "t", event_at=NOW + 7))
        await commit(store, put("a", "Oslo", turns=["t"]))
        await commit(store, put("b", "Bergen", event_at=NOW + 1, supersedes=["a"]))
        turn = await sure(store, "r")
        assert validity(turn) == (NOW + 7, "b")
        assert turn.version == 2
        assert await events(store, "r") == ["ADD"]
        assert [each.id for each in await store.turns(RED, ["t"])] == ["t"]

    async def test_turns_that_current_facts_rest_on_stay(self, store: Store) -> None:
        await commit(store, turns("t", "u"), raw("r", "t"), raw("s", "u"))
        two = put("two", "said both times", turns=["t", "u"], kind="turn", listed=False)
        await commit(store, two, put("a", "Oslo", turns=["t"]), put("b", "tea", turns=["t"]))
        await commit(store, put("other", "of u", turns=["u"]))
        await commit(store, put("c", "Bergen", supersedes=["a"]))
        assert validity(await sure(store, "r")) == (None, None)
        await commit(store, put("d", "coffee", supersedes=["b"]))
        assert validity(await sure(store, "r")) == (NOW, "d")
        assert validity(await sure(store, "two")) == (None, None)
        await commit(store, put("e", "of v", supersedes=["other"]))
        assert validity(await sure(store, "two")) == (NOW, "e")
        assert (await sure(store, "two")).version == 2

    async def test_immutable_memories_do_not_end(self, store: Store) -> None:
        await commit(store, turns("t", "u"), raw("r", "t"), raw("s", "u", immutable=True))
        await commit(store, put("a", "Oslo", turns=["t"], immutable=True))
        await commit(store, put("b", "tea", turns=["u"]))
        await commit(store, put("c", "Bergen", event_at=NOW + 1, supersedes=["a", "b"]))
        assert validity(await sure(store, "b")) == (NOW + 1, "c")
        for id_ in "ars":
            assert validity(await sure(store, id_)) == (None, None), id_
        assert await events(store, "a") == ["ADD"]
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW))
        assert await store.fetch(RED, ["a", "r"]) == []

    async def test_listed_turns_stay(self, store: Store) -> None:
        await commit(store, turns("t"), put("r", "said", turns=["t"], kind="turn"))
        await commit(store, put("a", "Oslo", turns=["t"]), put("b", "Bergen", supersedes=["a"]))
        assert validity(await sure(store, "r")) == (None, None)


class RemoveContract(StoreFixtures):
    """`RemoveMemories`."""

    async def test_exactly_what_matches_is_deleted(self, store: Store) -> None:
        await commit(
            store,
            put("a", "one", metadata={"k": 1}, vec=vector(1)),
            put("b", "two", metadata={"k": 2}, vec=vector(1)),
            put("c", "three", listed=False),
            put("d", "four", expires_on="1999-01-01"),
            put("e", "five", supersedes=["d"]),
            put("f", "six", user_id="bob"),
        )
        matching = Or((Compare("metadata.k", "gte", 2), Compare("kind", "eq", "turn")))
        assert await commit(store, RemoveMemories(filter=matching, at=NOW)) == [["b"]]
        assert await commit(store, RemoveMemories(filter=Nothing(), at=NOW)) == [[]]
        whole = RemoveMemories(filter=Compare("user_id", "eq", "alice"), at=NOW)
        assert await commit(store, whole) == [["a", "c", "d", "e"]]
        assert (await replica(store)).held == {}
        assert (await replica(store, BOB)).order == ["f"]
        assert (await store.stats(RED))["vectors"] == 0

    async def test_a_limit_takes_the_first_inserted(self, store: Store) -> None:
        names = ["z", "y", "b", "x", "a"]
        users = ["bob", "alice", "alice", "bob", "alice"]
        for name, user in zip(names, users, strict=True):
            await commit(store, put(name, f"text {name}", user_id=user))
        either = Compare("user_id", "in", ("alice", "bob"))
        for gone in (["z", "y"], ["b", "x"], ["a"], []):
            op = RemoveMemories(filter=either, at=NOW, limit=2)
            assert await commit(store, op) == [gone]

    async def test_the_turns_behind_a_fact_go_with_it(self, store: Store) -> None:
        await commit(store, turns("t", "u"), raw("r", "t"), raw("s", "u"))
        await commit(store, put("a", "tea", turns=["t"]), put("b", "milk", turns=["u"]))
        result = await commit(store, RemoveMemories(filter=ids("a"), at=NOW))
        assert result == [["a"]], "only what matched"
        assert [m.id for m in await store.fetch(RED, ["a", "r", "b", "s"])] == ["b", "s"]
        assert [turn.id for turn in await store.turns(RED, ["t", "u"])] == ["u"]
        assert await events(store, "r") == ["ADD", "DELETE"]

    async def test_turns_of_turns_go_too(self, store: Store) -> None:
        await commit(store, turns("t", "u", "v"))
        both = put("r", "said twice", turns=["t", "u"], kind="turn", listed=False)
        await commit(store, both, raw("s", "u"), raw("other", "v"), put("a", "tea", turns=["t"]))
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW))
        assert (await replica(store)).order == ["other"]
        assert [turn.id for turn in await store.turns(RED, ["t", "u", "v"])] == ["v"]

    async def test_other_facts_and_listed_turns_stay(self, store: Store) -> None:
        await commit(store, turns("t"), put("r", "said", turns=["t"], kind="turn"))
        await commit(store, put("a", "tea", turns=["t"]), put("b", "milk", turns=["t"]))
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW))
        assert (await replica(store)).order == ["r", "b"]
        assert await store.turns(RED, ["t"]) == []

    async def test_a_deleted_turn_leaves_no_trace_that_a_new_one_takes_up(
        self, store: Store
    ) -> None:
        await commit(store, turns("t"), raw("r", "t"))
        await commit(store, put("a", "tea", turns=["t"]), put("b", "milk", turns=["t"]))
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW))
        await commit(store, turns("new"), raw("s", "new"))
        assert (await replica(store)).told == set()
        await commit(store, RemoveMemories(filter=ids("b"), at=NOW))
        assert [turn.id for turn in await store.turns(RED, ["new"])] == ["new"]
        assert (await replica(store)).order == ["s"]

    async def test_history_keeps_the_text_of_what_was_deleted(self, store: Store) -> None:
        await commit(store, put("a", "tea", actor_id="Ann", role="user"))
        await commit(store, EditMemory(memory_id="a", at=NOW, text="milk"))
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW + 5))
        *before, last = await store.history(RED, "a")
        told = (last.event, last.old_memory, last.new_memory, last.updated_at, last.is_deleted)
        assert told == ("DELETE", "milk", None, NOW + 5, True)
        assert (last.actor_id, last.role, last.created_at) == ("Ann", "user", NOW)
        assert [event.is_deleted for event in before] == [False, False]

    async def test_erasing_leaves_no_text_in_history(self, store: Store) -> None:
        await commit(store, turns("t"), raw("r", "t"), put("a", "tea", turns=["t"]), put("b", "x"))
        await commit(store, EditMemory(memory_id="a", at=NOW, text="milk"))
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW, erase_history=True))
        gone = [*await store.history(RED, "a"), *await store.history(RED, "r")]
        assert [e.event for e in gone] == ["ADD", "UPDATE", "DELETE", "ADD", "DELETE"]
        assert {(e.old_memory, e.new_memory) for e in gone} == {(None, None)}
        assert (await store.history(RED, "b"))[0].new_memory == "x"

    async def test_erasing_by_entities_reaches_what_was_deleted_before(self, store: Store) -> None:
        of_alice, of_tea = Compare("user_id", "eq", "alice"), Compare("text", "eq", "tea")
        both = And((of_alice, Compare("agent_id", "eq", "bot")))
        await commit(store, put("a", "tea"), put("b", "tea", user_id="bob"))
        await commit(store, put("c", "milk", agent_id="bot"), put("d", "rum"))
        await commit(store, put("a", "tea"), project=BLUE)
        for project in (RED, BLUE):
            one_by_one = RemoveMemories(filter=ids("a", "b", "c"), at=NOW)
            await commit(store, one_by_one, project=project)

        async def told(id_: str, project: Project = RED) -> bool:
            events = await store.history(project, id_)
            return any(event.old_memory or event.new_memory for event in events)

        for tree, erased in ((of_tea, ""), (both, "c"), (of_alice, "acd")):
            await commit(store, RemoveMemories(filter=tree, at=NOW, erase_history=True))
            for id_ in "abcd":
                assert await told(id_) == (id_ not in erased), (tree, id_)
        assert await told("a", BLUE)

    async def test_history_tells_whose_memory_it_was_also_when_it_is_gone(
        self, store: Store
    ) -> None:
        whose: dict[str, Any] = {
            "user_id": "alice", "agent_id": "bot", "app_id": "app", "run_id": "run"
        }  # fmt: skip
        await commit(store, turns("t"), raw("r", "t", **whose), put("a", "tea", **whose))
        await commit(store, EditMemory(memory_id="a", at=NOW, text="milk"))
        await commit(store, put("b", "rum", supersedes=["a"], **whose))
        await commit(store, RemoveMemories(filter=ids("a", "r"), at=NOW, erase_history=True))
        for id_, shown in (("a", True), ("r", False)):
            history = await store.history(RED, id_)
            assert {event.scope for event in history} == {Scope(**whose)}
            assert {event.listed for event in history} == {shown}
            assert history[-1].event == "DELETE"

    async def test_history_tells_how_changes_came_about(self, store: Store) -> None:
        made, edited, gone = (
            Origin("extracted", "key-1", "key", "http", "acme:small", "0123456789ab", "import"),
            Origin("edited", "ann"),
            Origin("deleted", via="cli"),
        )
        await commit(store, replace(put("a"), origin=made), put("b", "silent"))
        edit = EditMemory(memory_id="a", at=NOW + 1, text="mate", origin=edited)
        ended = replace(put("c", "coffee", supersedes=["a"]), origin=made)
        await commit(store, edit, ended)
        await commit(store, RemoveMemories(filter=Everything(), at=NOW + 2, origin=gone))
        told = [one.origin for one in await store.history(RED, "a")]
        assert told == [made, edited, made, gone]
        assert [one.origin for one in await store.history(RED, "b")] == [None, gone]

    async def test_an_identity_is_free_again_after_deletion(self, store: Store) -> None:
        await commit(store, put("a", "tea"))
        await commit(store, RemoveMemories(filter=ids("a"), at=NOW))
        assert await commit(store, put("b", "tea"), put("a", "milk")) == ["b", "a"]
        assert await events(store, "a") == ["ADD", "DELETE", "ADD"]


class ResetContract(StoreFixtures):
    """`Reset`."""

    async def test_everything_of_the_project_goes(self, store: Store) -> None:
        for project in (RED, BLUE):
            await commit(
                store,
                turns("t"),
                raw("r", "t"),
                put("a", "tea", vec=vector(1), turns=["t"]),
                put_job("j", project=project, idempotency_key="k"),
                project=project,
            )
        other = (await replica(store, project=BLUE)).known, await store.stats(BLUE)
        await commit(store, put("b", "later"), Reset())
        assert (await replica(store)).held == {}
        assert await store.turns(RED, ["t"]) == []
        assert await store.history(RED, "a") == []
        assert await store.job(RED, "j") is None
        assert await store.find_job(RED, "k") is None
        assert await store.entities(RED, 0, 10) == ([], {})
        assert (await store.state(RED, ALICE)).memories == 0
        stats = {name: count for name, count in (await store.stats(RED)).items() if count}
        assert stats.keys() <= {"bytes"}
        left = (await replica(store, project=BLUE)).known, await store.stats(BLUE)
        assert left[0] == other[0]
        assert {**left[1], "bytes": 0} == {**other[1], "bytes": 0}

    async def test_readers_notice_a_reset(self, store: Store) -> None:
        await commit(store, put("a", "tea"), put("b", "milk"))
        reader = await replica(store)
        await commit(store, Reset())
        assert (await store.state(RED, ALICE)).generation != reader.generation
        await commit(store, put("b", "milk"), put("c", "water"))
        assert (await store.state(RED, ALICE)).generation != reader.generation
        await reader.refresh(store, ALICE, RED)
        assert reader.known == (await replica(store)).known
        assert reader.order == ["b", "c"]

    async def test_operations_after_a_reset_count(self, store: Store) -> None:
        await commit(store, put("a", "tea"))
        await commit(
            store,
            put("b", "milk"),
            RemoveMemories(filter=Everything(), at=NOW),
            Reset(),
            put("c", "water"),
        )
        assert (await store.state(RED, ALICE)).memories == 1
        assert await one(store, "a") is None
        assert await listed(store, view=View(now=NOW)) == ["c"]
