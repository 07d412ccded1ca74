"""Opening, closing, several handles on one store, several projects in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from holdfast.errors import ClosedError, ConfigError, ConflictError, SpaceMismatchError
from holdfast.filters import Everything
from holdfast.model import ANY, Entity
from holdfast.ports import (
    EditMemory,
    FinishJob,
    RemoveMemories,
    Reset,
    SetVectors,
    UsageQuery,
)
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    NOW,
    OTHER_SPACE,
    RED,
    SPACE,
    Make,
    commit,
    events,
    listed,
    listing,
    one,
    put,
    put_job,
    raw,
    replica,
    turns,
    vector,
)
from holdfast.testing.replica import Store

Call = Callable[[Store], Awaitable[object]]


async def _state(store: Store) -> object:
    return await store.state(RED, ALICE)


async def _store_id(store: Store) -> object:
    return store.store_id


async def _subjects_id(store: Store) -> object:
    return store.subjects_id


CALLS: dict[str, Call] = {
    "commit": lambda store: store.commit(RED, []),
    "fetch": lambda store: store.fetch(RED, ["a"]),
    "turns": lambda store: store.turns(RED, ["a"]),
    "page": lambda store: store.page(RED, listing()),
    "history": lambda store: store.history(RED, "a"),
    "entities": lambda store: store.entities(RED, 0, 1),
    "state": _state,
    "store_id": _store_id,
    "subjects_id": _subjects_id,
    "delta": lambda store: store.delta(RED, ALICE, None),
    "usage": lambda store: store.usage(RED, UsageQuery(since=0.0, before=NOW)),
    "stats": lambda store: store.stats(RED),
    "census": lambda store: store.census(NOW),
    "job": lambda store: store.job(RED, "a"),
    "find_job": lambda store: store.find_job(RED, "a"),
    "lease": lambda store: store.lease("me", NOW, 1.0),
    "lease_one": lambda store: store.lease_one(RED, "a", "me", NOW, 1.0),
    "heartbeat": lambda store: store.heartbeat(RED, "a", "me", NOW, 1.0),
    "jobs": lambda store: store.jobs(RED, None, 0, 1),
    "count_jobs": lambda store: store.count_jobs(RED, None),
    "hasten": lambda store: store.hasten(RED, "E", NOW),
    "rerun": lambda store: store.rerun(RED, "a", NOW),
}
"""Every call but `open` and `close`."""


async def closed(call: Call, store: Store) -> bool:
    """Whether a call is refused with ClosedError."""
    try:
        await call(store)
    except ClosedError:
        return True
    return False


class LifeContract(StoreFixtures):
    """`open` and `close`."""

    async def test_calls_before_open_and_after_close_say_so(self, make: Make) -> None:
        store = make()
        for state in ("new", "closed"):
            for name, call in CALLS.items():
                assert await closed(call, store), f"{name} of a {state} store"
            if state == "new":
                await store.open(SPACE)
                await store.close()
        with pytest.raises(ClosedError):
            await store.open(SPACE)

    async def test_every_handle_tells_the_id_of_the_store(self, make: Make) -> None:
        store, other = make(), make()
        await store.open(SPACE)
        known = store.store_id
        assert len(known) >= 16
        await commit(store, put("a", "tea"), Reset())
        await other.open(SPACE)
        assert store.store_id == other.store_id == known
        assert store.subjects_id == other.subjects_id
        await store.close()
        await other.close()

    async def test_open_and_close_can_be_repeated(self, make: Make) -> None:
        store = make()
        await store.open(SPACE)
        await commit(store, put("a"))
        await store.open(SPACE)
        assert await listed(store) == ["a"]
        await store.close()
        await store.close()

    async def test_what_was_committed_is_there_after_opening_anew(self, make: Make) -> None:
        first = make()
        await first.open(SPACE)
        await commit(first, turns("t"), raw("r", "t"), put("a", "tea", turns=["t"], vec=vector(1)))
        await commit(first, put("b", "milk", supersedes=["a"]), put_job("j", payload={"k": [1]}))
        leased = await first.lease("me", NOW, 10.0)
        before = (await replica(first)).known, await store_facts(first)
        generation = await first.state(RED, ALICE)
        await first.close()
        second = make()
        await second.open(SPACE)
        assert ((await replica(second)).known, await store_facts(second)) == before
        assert (await second.state(RED, ALICE)) == generation
        assert await second.job(RED, "j") == leased
        assert await second.heartbeat(RED, "j", "me", NOW, 10.0)
        await second.close()

    async def test_a_store_with_vectors_is_bound_to_its_space(self, make: Make) -> None:
        first = make()
        await first.open(OTHER_SPACE)
        await commit(first, put("a"))
        await first.close()
        second = make()
        await second.open(SPACE)
        await commit(second, put("b", "milk", vec=vector(1)))
        await second.close()
        third = make()
        with pytest.raises(SpaceMismatchError):
            await third.open(OTHER_SPACE)
        await third.open(SPACE)
        assert (await replica(third)).entry("b")["vector"] == vector(1)
        await third.close()

    async def test_a_store_with_memories_is_bound_to_its_key(self, make: Make) -> None:
        for mark in (1, 2):
            empty = make()
            await empty.open(SPACE, mark)
            await empty.close()
        first = make()
        await first.open(SPACE, 3)
        await commit(first, put("a"))
        await first.close()
        second = make()
        with pytest.raises(ConfigError):
            await second.open(SPACE, 4)
        await second.open(SPACE, 3)
        assert await listed(second) == ["a"]
        await second.close()


async def store_facts(store: Store) -> object:
    """What is to be there after opening anew, beside what a replica holds."""
    stats = {**await store.stats(RED), "bytes": 0}
    found = await store.turns(RED, ["t"]), await store.jobs(RED, None, 0, 9)
    return stats, found, await store.history(RED, "a"), await store.entities(RED, 0, 9)


class HandlesContract(StoreFixtures):
    """Several handles on one store, as processes that share a file."""

    async def test_each_sees_what_the_other_wrote(self, make: Make, store: Store) -> None:
        other = make()
        await other.open(SPACE)
        for n, (writer, reader) in enumerate([(store, other), (other, store)] * 3):
            seen = await replica(reader)
            await commit(writer, put(f"m{n}", f"text {n}"))
            assert (await reader.state(RED, ALICE)) == (await writer.state(RED, ALICE))
            assert (await reader.state(RED, ALICE)).generation != seen.generation
            await seen.refresh(reader, ALICE, RED)
            assert seen.known == (await replica(writer)).known
            assert await listed(reader) == await listed(writer)
        await other.close()

    async def test_a_job_is_leased_to_one(self, make: Make, store: Store) -> None:
        other = make()
        await other.open(SPACE)
        await commit(store, put_job("j"), put_job("k", "other scope"))
        taken = await asyncio.gather(
            *(handle.lease(f"w{n}", NOW, 9.0) for n, handle in enumerate([store, other] * 3))
        )
        assert sorted(job.id for job in taken if job is not None) == ["j", "k"]
        await other.close()

    async def test_one_identity_is_stored_once_through_all(self, make: Make, store: Store) -> None:
        other = make()
        await other.open(SPACE)
        results = await asyncio.gather(
            *(
                commit(handle, put(f"m{n}", "the same"))
                for n, handle in enumerate([store, other] * 8)
            )
        )
        assert len({ids[0] for ids in results}) == 1
        assert (await store.state(RED, ALICE)).memories == 1
        await other.close()


class ProjectContract(StoreFixtures):
    """What one project has is unknown to every other."""

    async def test_nothing_is_seen_from_another_project(self, store: Store) -> None:
        await commit(
            store,
            turns("t"),
            raw("r", "t"),
            put("a", turns=["t"]),
            put_job("j", idempotency_key="k"),
        )
        assert await store.fetch(BLUE, ["a", "r"]) == []
        assert await store.turns(BLUE, ["t"]) == []
        assert (await store.page(BLUE, listing(Everything()))).total == 0
        assert await events(store, "a", BLUE) == []
        assert await store.entities(BLUE, 0, 9) == ([], {})
        for entity in (ALICE, Entity("user", ANY)):
            assert (await store.state(BLUE, entity)).memories == 0
            assert (await replica(store, entity, BLUE)).held == {}
        assert await store.job(BLUE, "j") is None
        assert await store.find_job(BLUE, "k") is None
        assert await store.jobs(BLUE, None, 0, 9) == []
        assert await store.lease_one(BLUE, "j", "me", NOW, 1.0) is None
        stats = await store.stats(BLUE)
        assert not any(count for name, count in stats.items() if name != "bytes")

    async def test_nothing_is_changed_from_another_project(self, store: Store) -> None:
        await commit(
            store,
            turns("t"),
            raw("r", "t"),
            put("a", turns=["t"]),
            put_job("j", idempotency_key="k"),
        )
        await store.lease("me", NOW, 9.0)
        before = (await replica(store)).known, await store_facts(store)
        generation = await store.state(RED, ALICE)
        results = await commit(
            store,
            EditMemory(memory_id="a", at=NOW, text="x"),
            SetVectors(vectors=(("a", vector(1)),)),
            put("b", "milk", turns=["t"], supersedes=["a"]),
            RemoveMemories(filter=Everything(), at=NOW, erase_history=True),
            project=BLUE,
        )
        assert results == [None, None, "b", ["b"]]
        await commit(store, Reset(), project=BLUE)
        finish = FinishJob(job_id="j", owner="me", state="FAILED", at=NOW)
        with pytest.raises(ConflictError):
            await commit(store, finish, project=BLUE)
        assert not await store.rerun(BLUE, "j", NOW)
        assert ((await replica(store)).known, await store_facts(store)) == before
        assert (await store.state(RED, ALICE)) == generation

    async def test_ids_identities_and_keys_are_of_one_project(self, store: Store) -> None:
        for project in (RED, BLUE):
            made = await commit(
                store,
                turns("t", text=project),
                put("a", "tea", metadata={"of": project}),
                put_job("j", project=project, idempotency_key="k", payload={"of": project}),
                project=project,
            )
            assert made == [None, "a", None]
        for project in (RED, BLUE):
            memory = await one(store, "a", project)
            assert memory is not None
            assert memory.metadata == {"of": project}
            [turn] = await store.turns(project, ["t"])
            assert turn.text == f"{project} (t)"
            job = await store.find_job(project, "k")
            assert job is not None
            assert job.payload == {"of": project}
