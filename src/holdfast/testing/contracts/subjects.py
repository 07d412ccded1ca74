"""The contract of `ports.subjects.Subjects`, sentence by sentence, for one that a store keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.core.erasure import mark_of
from holdfast.core.identity import scope_key
from holdfast.directory import Erasure, Held, Where
from holdfast.errors import ConflictError
from holdfast.filters import Compare
from holdfast.model import Entity, Json, Project, Scope, Turn, Usage
from holdfast.ports import FinishJob, PutRows, PutTurns, PutUsage, RemoveMemories
from holdfast.ports.subjects import ERASED, Aged, Subjects, Telling
from holdfast.testing.contracts.fixtures import StoreFixtures
from holdfast.testing.contracts.rows import sample
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    BOB,
    NOW,
    RED,
    SPACE,
    Make,
    commit,
    events,
    one,
    put,
    put_job,
    replica,
    turns,
    vector,
)
from holdfast.testing.replica import Store

HELPER, RUN = Entity("agent", "helper"), Entity("run", "r%_1")
WITH_HELPER = Scope(user_id="alice", agent_id="helper", run_id="r%_1")
Of = Callable[[Store], Subjects]
"""What a store keeps of subjects."""


def job(id_: str, scope: Scope, **fields: Any) -> Any:
    """A waiting job of a scope."""
    return put_job(id_, scope=scope_key(scope), payload={"of": id_}, **fields)


def usage(scope: Scope) -> PutUsage:
    """A row of the ledger."""
    took = Usage(model="m", input_tokens=3, cached_tokens=1, output_tokens=2)
    return PutUsage(usage=took, operation="add", scope=scope, at=NOW, job_id="j")


async def filled(store: Store) -> None:
    """Alice, who shares things with an agent, and Bob; and an Alice of another project."""
    helped: Any = {"agent_id": "helper", "run_id": "r%_1"}
    await commit(
        store,
        turns("t", "u"),
        PutTurns(scope=WITH_HELPER, turns=(Turn(id="v", role="user", text="v", event_at=NOW),)),
        PutTurns(scope=Scope(user_id="bob"), turns=(Turn(id="w", role="u", text="w", event_at=1),)),
        put("a1", "one", turns=["t"], vec=vector(1)),
        put("a2", "two", turns=["u", "v"], **helped),
        put("b1", "three", user_id="bob", agent_id="helper", turns=["w"]),
        job("ja", Scope(user_id="alice")),
        job("jh", WITH_HELPER, state="FAILED"),
        job("jb", Scope(user_id="bob", agent_id="alice")),
        put_job("je", scope="export je"),
        usage(WITH_HELPER),
        usage(Scope(user_id="bob", agent_id="helper")),
    )
    await commit(store, put("blue", user_id="alice"), turns("t"), project=BLUE)


async def counts(of: Subjects, entity: Entity, project: Project = RED) -> dict[str, int]:
    """What there is of an entity, zeros left out."""
    found = await of.inventory(project, entity)
    return {name: count for name, count in found.items() if count and name != "subject_keys"}


async def rows(of: Subjects, entity: Entity, copy: Telling) -> list[dict[str, Json]]:
    """All rows of a copy."""
    return [dict(row) async for row in of.rows(RED, entity, copy)]


def erasure(store: Store, entity: Entity, **changes: Any) -> Erasure:
    """One that is running."""
    fields: dict[str, Any] = {
        "id": "e", "project": RED, "kind": entity.kind, "subject": entity.id, "state": "RUNNING",
        "mark": mark_of(store.subjects_id, RED, entity), "started_at": NOW, **changes,
    }  # fmt: skip
    return Erasure(**fields)


class SubjectsContract(StoreFixtures):
    """Inherit this, override the fixture `make`, and run it with pytest-asyncio in auto mode."""

    @pytest.fixture
    def of(self) -> Of:
        """How they are got; for authors to override if it is not `.subjects`."""
        return lambda store: store.subjects  # type: ignore[attr-defined]

    async def test_an_inventory_counts_every_copy(self, store: Store, of: Of) -> None:
        await filled(store)
        assert await counts(of(store), ALICE) == {
            "memories": 2, "embeddings": 1, "sources": 3, "messages": 3, "history": 2, "jobs": 2,
            "usage": 1, "entities": 1,
        }  # fmt: skip
        assert (await counts(of(store), RUN))["jobs"] == 1
        assert await counts(of(store), HELPER) == {
            "memories": 2, "sources": 3, "messages": 1, "history": 2, "jobs": 1, "usage": 2,
            "entities": 1,
        }  # fmt: skip
        assert await counts(of(store), Entity("user", "helper")) == {}

    async def test_memory_ids_tell_of_deleted_ones_too(self, store: Store, of: Of) -> None:
        await filled(store)
        gone = RemoveMemories(filter=Compare("id", "eq", "a1"), at=NOW)
        await commit(store, gone)
        assert sorted(await of(store).memory_ids(RED, ALICE)) == ["a1", "a2"]
        assert sorted(await of(store).memory_ids(RED, RUN)) == ["a2"]

    async def test_erase_takes_all_rows_of_the_copy_and_no_others(
        self, store: Store, of: Of
    ) -> None:
        await filled(store)
        bob, before = await counts(of(store), BOB), await counts(of(store), ALICE)
        for copy in ERASED:
            assert await of(store).erase(RED, ALICE, copy) == before[copy]
            del before[copy]
            if copy == "messages":
                del before["sources"]
            assert await counts(of(store), ALICE) == before
            assert await of(store).erase(RED, ALICE, copy) == 0
        assert await counts(of(store), BOB) == bob
        assert (await counts(of(store), ALICE, BLUE))["messages"] == 1
        assert [t.id for t in await store.turns(RED, ["t", "u", "v", "w"])] == ["w"]
        assert [j.id for j in await store.jobs(RED, None, 0, 9)] == ["je", "jb"]

    async def test_all_history_of_its_memories_goes(self, store: Store, of: Of) -> None:
        await filled(store)
        await commit(store, RemoveMemories(filter=Compare("id", "eq", "a1"), at=NOW))
        await of(store).erase(RED, ALICE, "history")
        assert await events(store, "a1") == await events(store, "a2") == []
        assert await events(store, "b1") == ["ADD"]

    async def test_more_than_one_batch_is_erased(self, store: Store, of: Of) -> None:
        many = [job(f"j{i}", Scope(user_id="alice")) for i in range(1_100)]
        await commit(store, *many, job("jb", Scope(user_id="bob")))
        assert len(await rows(of(store), ALICE, "jobs")) == 1_100
        assert await of(store).erase(RED, ALICE, "jobs") == 1_100
        assert await store.count_jobs(RED, None) == 1

    async def test_amounts_of_usage_stay(self, store: Store, of: Of) -> None:
        await filled(store)
        await of(store).erase(RED, ALICE, "usage")
        hers, bobs = await rows(of(store), HELPER, "usage")
        assert (hers["input_tokens"], hers["cached_tokens"], hers["output_tokens"]) == (3, 1, 2)
        named = ("user_id", "agent_id", "run_id", "job_id")
        assert [hers[name] for name in named] == [None, "helper", None, None]
        assert (bobs["user_id"], bobs["job_id"]) == ("bob", "j")
        await of(store).erase(RED, HELPER, "usage")
        [bobs] = await rows(of(store), BOB, "usage")
        assert (bobs["user_id"], bobs["agent_id"]) == ("bob", None)

    async def test_who_works_at_an_erased_job_has_lost_its_lease(
        self, store: Store, of: Of
    ) -> None:
        await filled(store)
        taken = await store.lease_one(RED, "ja", "me", NOW, 60.0)
        assert taken is not None
        await of(store).erase(RED, ALICE, "jobs")
        end = FinishJob(job_id="ja", owner="me", state="SUCCEEDED", at=NOW)
        with pytest.raises(ConflictError):
            await commit(store, put("late"), end)
        assert await one(store, "late") is None

    async def test_nothing_of_it_is_stored_while_it_is_erased(
        self, store: Store, make: Make, of: Of
    ) -> None:
        other = make()
        await other.open(SPACE)
        await of(store).begin(erasure(store, ALICE))
        held = PutRows(rows=(sample(Held, user_id="alice"),))
        late = (put("x"), turns("x"), job("x", Scope(user_id="alice", app_id="a")), held)
        for handle in (store, other):
            for op in late:
                with pytest.raises(ConflictError):
                    await commit(handle, put("y", user_id="bob"), op)
        assert await one(store, "y") is None
        await commit(store, put("y", user_id="bob", agent_id="alice"), turns("z"), project=BLUE)
        await commit(store, put("y", user_id="bob", agent_id="alice"))
        directory: Any = store.directory
        await directory.update(Erasure, Where("id", "e"), values={"state": "DONE"})
        await commit(store, *late)
        await other.close()

    async def test_its_name_is_taken_away(self, store: Store, of: Of) -> None:
        await filled(store)
        reader = await replica(store, HELPER)
        await commit(store, RemoveMemories(filter=Compare("user_id", "eq", "alice"), at=NOW))
        before = await store.state(RED, Entity("user", "*"))
        await of(store).forget(RED, ALICE, "ab" * 16)
        assert "entities" not in await counts(of(store), ALICE)
        assert (await store.state(RED, ALICE)).generation == 0
        assert (await store.state(RED, Entity("user", "*"))) == before
        names = [entity for _, entity, _ in await of(store).named(RED)]
        assert names == [HELPER, BOB]  # the run held nothing else
        assert not (await reader.refresh(store, HELPER, RED)).complete
        assert reader.order == ["b1"]
        assert not (await replica(store, ALICE)).held

    async def test_who_comes_back_is_new(self, store: Store, of: Of) -> None:
        for at in (NOW, NOW + 50.0, NOW + 99.0):
            await commit(store, put(f"m{at}", created_at=at, run_id="r"))
            [(_, found, created_at), _] = sorted(await of(store).named(RED), key=str, reverse=True)
            assert (found, created_at) == (ALICE, at)
            await commit(store, RemoveMemories(filter=Compare("user_id", "eq", "alice"), at=at))
            await of(store).forget(RED, ALICE, "ab" * 16)
            assert await of(store).named(RED) == []

    async def test_names_are_of_one_project_or_of_all(self, store: Store, of: Of) -> None:
        await filled(store)
        assert [one_[1] for one_ in await of(store).named(BLUE)] == [ALICE]
        every = [(project, entity) for project, entity, _ in await of(store).named(None)]
        assert every == [(BLUE, ALICE), (RED, HELPER), (RED, RUN), (RED, ALICE), (RED, BOB)]

    async def test_rows_come_in_order_with_what_is_of_use(self, store: Store, of: Of) -> None:
        await filled(store)
        said = await rows(of(store), ALICE, "messages")
        assert [(row["id"], row["text"]) for row in said] == [
            ("t", "I like tea (t)"), ("u", "I like tea (u)"), ("v", "v"),
        ]  # fmt: skip
        assert said[2]["agent_id"] == "helper"
        changed = await rows(of(store), ALICE, "history")
        assert [(row["memory_id"], row["new_memory"]) for row in changed] == [
            ("a1", "one"), ("a2", "two"),
        ]  # fmt: skip
        jobs = await rows(of(store), ALICE, "jobs")
        assert [(row["id"], row["payload"]) for row in jobs] == [
            ("ja", {"of": "ja"}), ("jh", {"of": "jh"}),
        ]  # fmt: skip
        assert len(await rows(of(store), ALICE, "usage")) == 1
        sources = await rows(of(store), ALICE, "sources")
        assert [(row["memory_id"], row["turn_id"]) for row in sources] == [
            ("a1", "t"), ("a2", "u"), ("a2", "v"),
        ]  # fmt: skip
        assert {row["quote"] for row in sources} <= {"one", "two", ""}

    async def test_what_is_old_is_counted_and_goes(self, store: Store, of: Of) -> None:
        aged: Any = {"state": "SUCCEEDED", "completed_at": NOW - 5}
        await commit(
            store,
            turns("t"),
            put("old", "one", created_at=NOW - 9, turns=["t"], listed=False, kind="turn"),
            put("fact", "two", created_at=NOW - 9, expires_on="2001-01-01"),
            put("new", "three", created_at=NOW, supersedes=["fact"], expires_on="2999-01-01"),
            put("sum", "four", created_at=NOW - 9, kind="summary"),
            put("gone", "five", created_at=NOW - 9),
            job("j1", Scope(user_id="alice"), **aged),
            job("j2", Scope(user_id="alice"), state="FAILED", completed_at=NOW),
            job("j3", Scope(user_id="alice")),
            usage(Scope(user_id="alice")),
        )
        await commit(store, RemoveMemories(filter=Compare("id", "eq", "gone"), at=NOW - 3))
        await commit(store, put("blue", created_at=NOW - 9), project=BLUE)

        async def count(what: Aged, before: float) -> int:
            return await of(store).older(RED, what, before)

        kinds: tuple[Aged, ...] = ("facts", "turns", "summaries")
        for what in kinds:
            assert await count(what, NOW - 9) == 1
            assert await count(what, NOW - 9.5) == 0
            assert await of(store).expire(RED, what, NOW) == 0
        assert await count("facts", NOW) == 2
        assert await count("expired", NOW) == await count("expired", 978_393_600.0) == 1
        assert await count("expired", 978_307_200.0) == 0  # its last day
        assert await count("history", NOW - 5) == 1
        assert await count("history", NOW) == 2
        assert await of(store).expire(RED, "history", NOW) == 2
        assert await events(store, "gone") == []
        assert await events(store, "fact") == ["ADD", "SUPERSEDE"]
        assert await count("jobs", NOW - 5) == await of(store).expire(RED, "jobs", NOW - 5) == 1
        assert [one_.id for one_ in await store.jobs(RED, None, 0, 9)] == ["j3", "j2"]
        assert await count("usage", NOW - 1) == 0
        assert await of(store).expire(RED, "usage", NOW) == 1
        assert await rows(of(store), ALICE, "usage") == []
        assert len(await store.history(BLUE, "blue")) == 1
