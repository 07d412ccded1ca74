"""What a record store does with operations that put and change."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from holdfast.errors import ConflictError, HoldfastError, ReplayedError
from holdfast.model import IndexTerms, Origin, Scope, Usage
from holdfast.ports import EditMemory, PutUsage, SetVectors
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
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
from holdfast.testing.hostile import STORABLE
from holdfast.testing.replica import Store


class CommitContract(StoreFixtures):
    """`Records.commit`: in order, all or none."""

    async def test_each_operation_has_a_result(self, store: Store) -> None:
        ledger = PutUsage(
            usage=Usage(model="m"), operation="add", scope=Scope(user_id="alice"), at=NOW
        )
        edit = EditMemory(memory_id="a", at=NOW, listed=True)
        results = await commit(
            store, turns("t"), put("a"), edit, SetVectors(vectors=()), ledger, put_job("j")
        )
        changed = await one(store, "a")
        assert results == [None, "a", changed, None, None, None]
        assert await commit(store) == []

    async def test_operations_are_carried_out_in_order(self, store: Store) -> None:
        await commit(
            store,
            put("a", "first"),
            EditMemory(memory_id="a", at=NOW, text="second"),
            EditMemory(memory_id="a", at=NOW, text="third"),
            put("b", "later"),
        )
        assert (await sure(store, "a")).text == "third"
        assert await listed(store) == ["b", "a"]

    async def test_none_is_carried_out_if_one_fails(self, store: Store) -> None:
        await commit(store, turns("t"), raw("r", "t"), put("a", "known"), put_job("j"))
        before = (await replica(store)).known, {**await store.stats(RED), "bytes": 0}
        for failing in (put("a", "other"), put_job("j")):
            with pytest.raises(HoldfastError):
                await commit(
                    store,
                    turns("t2"),
                    put("b", "new", vec=vector(1), turns=["t"], supersedes=["a"]),
                    EditMemory(memory_id="a", at=NOW, metadata={"k": 1}),
                    put_job("j2"),
                    failing,
                )
            after = (await replica(store)).known, {**await store.stats(RED), "bytes": 0}
            assert after == before
            assert await store.turns(RED, ["t2"]) == []
            assert await store.job(RED, "j2") is None
            assert await events(store, "a") == ["ADD"]
            assert await events(store, "b") == []

    async def test_what_is_wrong_with_one_commit_is_no_error_of_another(self, store: Store) -> None:
        await commit(store, put("taken", "known"))
        waiting = [
            commit(store, put("taken" if n % 4 == 0 else f"m{n}", f"text {n}")) for n in range(16)
        ]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        for number, result in enumerate(results):
            if number % 4 == 0:
                assert isinstance(result, ConflictError)
            else:
                assert result == [f"m{number}"]
        assert sorted(await listed(store)) == sorted(
            ["taken", *(f"m{n}" for n in range(16) if n % 4)]
        )


class PutContract(StoreFixtures):
    """`PutTurns`, `PutMemory`, `SetVectors`."""

    async def test_turns_come_back_as_they_were(self, store: Store) -> None:
        op = turns("t1", "t2")
        await commit(store, op)
        assert await store.turns(RED, ["t2", "t1"]) == list(op.turns[::-1])

    async def test_turns_with_known_ids_are_passed_over(self, store: Store) -> None:
        first = turns("t")
        await commit(store, first)
        await commit(store, turns("t", "u", text="other"))
        [kept, new] = await store.turns(RED, ["t", "u"])
        assert kept == first.turns[0]
        assert new.text == "other (u)"

    async def test_memories_come_back_as_they_were(self, store: Store) -> None:
        op = put(
            "a",
            actor_id="Ann",
            agent_id="agent",
            app_id="app",
            run_id="run",
            role="user",
            kind="summary",
            metadata={"k": [1, 2.5, None, {"n": True}], "": "x"},
            categories=("food", "tea"),
            listed=False,
            event_at=NOW - 5.5,
            valid_from=NOW - 7.25,
            expires_on="2999-12-31",
            created_at=NOW - 1,
            updated_at=NOW + 0.123456,
            version=3,
        )
        assert await commit(store, op, put("b", metadata={})) == ["a", "b"]
        assert await store.fetch(RED, ["a"]) == [op.memory]
        assert (await sure(store, "b")).metadata == {}

    async def test_hostile_texts_and_ids_come_back_as_they_were(self, store: Store) -> None:
        ops = [
            put(f"m{n}", text, user_id=text or "u", metadata={text: text}, categories=(text,))
            for n, text in enumerate(STORABLE)
        ]
        await commit(store, *ops)
        found = await store.fetch(RED, [op.memory.id for op in ops])
        assert found == [op.memory for op in ops]

    async def test_one_identity_is_stored_once(self, store: Store) -> None:
        first = put("a", "tea", identity=b"same", metadata={"k": 1}, vec=vector(1))
        second = put("b", "TEA", identity=b"same", metadata={"k": 2}, vec=vector(0, 1))
        assert await commit(store, first) == ["a"]
        assert await commit(store, second) == ["a"]
        assert await store.fetch(RED, ["a", "b"]) == [first.memory]
        assert await commit(store, first, second) == ["a", "a"]
        assert await store.fetch(RED, ["a", "b"]) == [first.memory]
        assert await events(store, "a") == ["ADD"]
        assert (await replica(store)).entry("a")["vector"] == vector(1)

    async def test_an_id_belongs_to_one_identity(self, store: Store) -> None:
        await commit(store, put("a", identity=b"one"), put("b", identity=b"two"))
        with pytest.raises(ConflictError):
            await commit(store, put("a", "new", identity=b"three"))
        assert await commit(store, put("b", identity=b"one")) == ["a"]

    async def test_a_duplicate_adds_its_sources(self, store: Store) -> None:
        await commit(store, turns("t1", "t2"), raw("r1", "t1"), raw("r2", "t2"))
        await commit(store, put("f", "likes tea", turns=["t1"]))
        reader = await replica(store)
        assert reader.told == {("r1", "f")}
        assert await commit(store, put("g", "likes tea", turns=["t2"])) == ["f"]
        await reader.refresh(store, ALICE, RED)
        assert reader.told == {("r1", "f"), ("r2", "f")}

    async def test_unknown_sources_are_passed_over(self, store: Store) -> None:
        await commit(store, put("f", turns=["nowhere"]), turns("nowhere"), raw("r", "nowhere"))
        assert (await replica(store)).told == set()

    async def test_vectors_that_are_missing_are_filled_in(self, store: Store) -> None:
        await commit(store, put("a", "no vector"), put("b", "has one", vec=vector(1)))
        fill = [("a", vector(0, 1)), ("b", vector(0, 0, 1)), ("gone", vector(1))]
        await commit(store, SetVectors(vectors=tuple(fill)))
        reader = await replica(store)
        assert reader.entry("a")["vector"] == vector(0, 1)
        assert reader.entry("b")["vector"] == vector(1)
        assert await one(store, "gone") is None

    async def test_index_terms_come_back_as_they_were(self, store: Store) -> None:
        terms = IndexTerms(terms=bytes(range(16)), flags=2**40 + 1, words=7, speaker=-(2**62))
        await commit(store, put("a", terms=terms, run_id="r", role="user"))
        entry = (await replica(store)).entry("a")
        found = {name: entry[name] for name in ("terms", "flags", "words", "speaker")}
        assert IndexTerms(**found) == terms
        assert (entry["session"], entry["role"], entry["kind"]) == ("r", "user", "fact")


class EditContract(StoreFixtures):
    """`EditMemory`."""

    async def test_an_edit_changes_what_it_names_and_no_more(self, store: Store) -> None:
        await commit(
            store,
            put("a", "old", metadata={"k": 1, "l": 2}, categories=("x",), expires_on="2030-01-01"),
        )
        before = await sure(store, "a")
        [changed] = await commit(
            store, EditMemory(memory_id="a", at=NOW + 9, metadata={"l": 3, "m": None})
        )
        assert changed == await one(store, "a")
        assert changed.metadata == {"k": 1, "l": 3, "m": None}
        assert (changed.version, changed.updated_at) == (before.version + 1, NOW + 9)
        kept = ("text", "hash", "categories", "expires_on", "event_at", "listed", "created_at")
        assert [getattr(changed, n) for n in kept] == [getattr(before, n) for n in kept]

    async def test_every_field_can_be_edited(self, store: Store) -> None:
        await commit(store, put("a", "old", categories=("x",), vec=vector(1)))
        edit = EditMemory(
            memory_id="a",
            at=NOW + 1,
            text="new",
            hash="h",
            identity=b"new",
            terms=IndexTerms(terms=b"12345678", words=1),
            vector=vector(0, 1),
            event_at=NOW - 100,
            listed=False,
            categories=(),
        )
        [changed] = await commit(store, edit)
        assert (changed.text, changed.hash, changed.event_at) == ("new", "h", NOW - 100)
        assert (changed.listed, changed.categories) == (False, ())
        entry = (await replica(store)).entry("a")
        assert (entry["terms"], entry["vector"]) == (b"12345678", vector(0, 1))
        assert entry["event_time"] == NOW - 100
        assert await commit(store, put("b", "whatever", identity=b"new")) == ["a"]

    async def test_expiry_changes_only_if_it_is_meant(self, store: Store) -> None:
        await commit(store, put("a", expires_on="2030-01-01"))
        [kept] = await commit(store, EditMemory(memory_id="a", at=NOW, metadata={}))
        assert kept.expires_on == "2030-01-01"
        [cleared] = await commit(store, EditMemory(memory_id="a", at=NOW, set_expires=True))
        assert cleared.expires_on is None

    async def test_a_new_text_has_its_own_vector_or_none(self, store: Store) -> None:
        await commit(store, put("a", "old", vec=vector(1)))
        await commit(store, EditMemory(memory_id="a", at=NOW, vector=vector(0, 1), metadata={}))
        assert (await replica(store)).entry("a")["vector"] == vector(1)
        await commit(store, EditMemory(memory_id="a", at=NOW, text="new"))
        assert (await replica(store)).entry("a")["vector"] is None

    async def test_history_tells_edits_that_callers_see(self, store: Store) -> None:
        await commit(store, put("a", "old", actor_id="Ann", role="user"))
        for edit in (
            EditMemory(memory_id="a", at=NOW + 1, text="new"),
            EditMemory(memory_id="a", at=NOW + 2, metadata={"k": 1}),
            EditMemory(memory_id="a", at=NOW + 3, set_expires=True),
            EditMemory(memory_id="a", at=NOW + 4, listed=False, categories=("x",), event_at=1.0),
        ):
            await commit(store, edit)
        history = await store.history(RED, "a")
        told = [(e.event, e.old_memory, e.new_memory, e.updated_at) for e in history]
        assert told == [
            ("ADD", None, "old", None),
            ("UPDATE", "old", "new", NOW + 1),
            ("UPDATE", "new", "new", NOW + 2),
            ("UPDATE", "new", "new", NOW + 3),
        ]
        assert {(e.actor_id, e.role, e.created_at) for e in history} == {("Ann", "user", NOW)}
        assert len({event.id for event in history}) == 4

    async def test_a_memory_may_bring_its_past(self, store: Store) -> None:
        await commit(store, put("a", "old", role="user"))
        edited = EditMemory(memory_id="a", at=NOW + 1, text="new", origin=Origin("edited", "ann"))
        await commit(store, edited)
        past = tuple(replace(one, restored=True) for one in await store.history(RED, "a"))
        moved = replace(put("a", "new"), past=past)
        await commit(store, moved, project=BLUE)
        assert await store.history(BLUE, "a") == list(past)
        await commit(store, EditMemory(memory_id="a", at=NOW + 2, text="newer"), project=BLUE)
        assert await events(store, "a", BLUE) == ["ADD", "UPDATE", "UPDATE"]
        again = replace(moved, identity=b"other", memory=replace(moved.memory, id="b"), past=())
        await commit(store, again, replace(again, past=past), project=BLUE)
        assert await events(store, "b", BLUE) == [], "a duplicate leaves history as it is"
        assert len(await store.history(BLUE, "a")) == 3

    async def test_an_edit_of_nothing_changes_nothing(self, store: Store) -> None:
        assert await commit(store, EditMemory(memory_id="gone", at=NOW, text="x")) == [None]
        assert await events(store, "gone") == []

    async def test_two_memories_cannot_become_one(self, store: Store) -> None:
        await commit(store, put("a", identity=b"one"), put("b", identity=b"two"))
        with pytest.raises(ConflictError):
            await commit(store, EditMemory(memory_id="b", at=NOW, text="x", identity=b"one"))
        [same] = await commit(store, EditMemory(memory_id="a", at=NOW, text="x", identity=b"one"))
        assert same.text == "x"

    async def test_an_immutable_memory_cannot_be_edited(self, store: Store) -> None:
        await commit(store, put("a", immutable=True), put("b", "milk", immutable=False))
        before = await sure(store, "a")
        assert (before.immutable, (await sure(store, "b")).immutable) == (True, False)
        for edit in (
            EditMemory(memory_id="a", at=NOW + 1, text="new"),
            EditMemory(memory_id="a", at=NOW + 1, metadata={"k": 1}),
            EditMemory(memory_id="a", at=NOW + 1, set_expires=True),
        ):
            with pytest.raises(ConflictError, match="immutable"):
                await commit(store, EditMemory(memory_id="b", at=NOW + 1, text="too"), edit)
        assert await store.fetch(RED, ["a"]) == [before]
        assert (await sure(store, "b")).text == "milk"
        assert await events(store, "a") == ["ADD"]


class PutJobContract(StoreFixtures):
    """`PutJob` as a part of a commit."""

    async def test_a_known_key_is_a_replay_that_changes_nothing(self, store: Store) -> None:
        await commit(store, put_job("j", idempotency_key="k"))
        with pytest.raises(ReplayedError) as caught:
            await commit(store, put_job("other", idempotency_key="k"), put("a"))
        assert caught.value.job_id == "j"
        assert await one(store, "a") is None
        await commit(store, put_job("x", idempotency_key=None), put_job("y"))

    async def test_an_id_belongs_to_one_job(self, store: Store) -> None:
        await commit(store, put_job("j"))
        with pytest.raises(ConflictError):
            await commit(store, put_job("j"))

    async def test_a_job_is_refused_for_what_came_before_it(self, store: Store) -> None:
        """Jobs that are put after it in the same commit do not count."""
        await commit(store, put_job("j", idempotency_key="known"))
        again, later = put_job("j", idempotency_key="k"), put_job("later", idempotency_key="k")
        with pytest.raises(ConflictError):
            await commit(store, again, later)
        replayed = put_job("new", idempotency_key="known")
        with pytest.raises(ReplayedError) as caught:
            await commit(store, replayed, put_job("new", idempotency_key="other"))
        assert caught.value.job_id == "j"
        assert await store.job(RED, "later") is None
        assert await store.job(RED, "new") is None

    async def test_operations_are_refused_in_order(self, store: Store) -> None:
        """A job that came first is what is wrong with a commit, not the memory behind it."""
        await commit(store, put("a", "tea"), put_job("j", idempotency_key="known"))
        replayed, taken = put_job("new", idempotency_key="known"), put("a", "milk")
        with pytest.raises(ReplayedError):
            await commit(store, put("b", "rum"), replayed, taken)
        with pytest.raises(ConflictError) as caught:
            await commit(store, put("b", "rum"), taken, replayed)
        assert not isinstance(caught.value, ReplayedError)
        assert await store.fetch(RED, ["b"]) == []

    async def test_a_job_is_put_into_its_own_project(self, store: Store) -> None:
        with pytest.raises(ValueError, match="project"):
            await commit(store, put("a"), put_job("j"), project=BLUE)
        assert await store.job(RED, "j") is None
