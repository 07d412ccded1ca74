"""A store that fails in the middle is left as before or as after, never between.

Every statement of every kind of commit fails once, before it is carried out and after; every call
of the engine to its store fails once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.sql import changes, queue
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.directory import Held
from holdfast.engine import delete as deleting
from holdfast.engine import update as updating
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, StoreError, StoreUnavailableError
from holdfast.filters import Compare, Everything
from holdfast.model import Scope, Usage
from holdfast.ports import (
    EditMemory,
    FinishJob,
    Op,
    PutRows,
    PutUsage,
    RemoveMemories,
    Reset,
    SetVectors,
    TakeRow,
)
from holdfast.testing.contracts.rows import sample
from holdfast.testing.contracts.values import (
    NOW,
    RED,
    SPACE,
    commit,
    put,
    put_job,
    raw,
    turns,
    vector,
)
from holdfast.testing.faults import FailingConnection, FailingStore, Fault, disk_error
from support.embedded import DIMENSIONS, add, find, of_user, opened

Contents = dict[str, list[tuple[Any, ...]]]

BEGINNING: tuple[Op, ...] = (
    turns("t", "u", "v"),
    raw("r", "t", vec=vector(1)),
    raw("s", "u"),
    put("a", "lives in Oslo", turns=["t"], vec=vector(1), run_id="x"),
    put("b", "likes tea", turns=["u", "t"], agent_id="y"),
    put("c", "likes milk", turns=["v"], metadata={"k": 1}),
    put_job("done", "s", state="SUCCEEDED"),
    put_job("j", "s", idempotency_key="known"),
    PutRows(rows=(sample(Held),)),
)

COMMITS: dict[str, tuple[Op, ...]] = {
    "an add": (
        put_job("k", "s", idempotency_key="new"),
        turns("w", "z"),
        raw("m", "w", vec=vector(1)),
        raw("n", "z", run_id="x"),
        put("again", "likes tea", turns=["z"], agent_id="y"),
    ),
    "what a model found": (
        SetVectors(vectors=(("s", vector(0, 1)), ("a", vector(0, 1)))),
        put("d", "lives in Bergen", turns=["t"], vec=vector(1), supersedes=["a", "c"]),
        put("e", "likes wine", turns=["v"], supersedes=["b"]),
        PutUsage(usage=Usage(model="m"), operation="add", scope=Scope(user_id="alice"), at=NOW),
        FinishJob(job_id="j", owner="me", state="SUCCEEDED", at=NOW, result={"results": []}),
    ),
    "edits": (
        EditMemory(memory_id="a", at=NOW, text="new", identity=b"new", vector=vector(0, 1)),
        EditMemory(memory_id="b", at=NOW, text="no vector", metadata={"k": 1}),
        EditMemory(memory_id="c", at=NOW, set_expires=True, expires_on="2030-01-01"),
    ),
    "an add that is held": (
        turns("w"),
        raw("m", "w", vec=vector(1)),
        PutRows(rows=(sample(Held, id="new"),)),
        put_job("k", "s", state="SUCCEEDED"),
    ),
    "an approval": (
        TakeRow(kind=Held, id="held"),
        turns("w"),
        raw("m", "w", vec=vector(1)),
        put_job("k", "s", idempotency_key="new", state="SUCCEEDED"),
    ),
    "one deletion": (RemoveMemories(filter=Compare("id", "eq", "b"), at=NOW),),
    "all deletions": (
        RemoveMemories(filter=Everything(), at=NOW, limit=2),
        RemoveMemories(filter=Compare("user_id", "eq", "alice"), at=NOW, erase_history=True),
    ),
    "a reset": (put("f", "later"), Reset(), put("g", "anew")),
}


def contents(path: Path) -> Contents:
    """Every row of every table, through a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr)
            for (name,) in names
            if name != "sqlite_stat1"
        }


class Victim:
    """A store on a file, with a fault in its write connection."""

    def __init__(self, path: Path, records: SqliteRecords) -> None:
        self.path = path
        self.records = records
        self._connection = FailingConnection(records._write._connection, Fault(0))
        records._write._connection = self._connection  # type: ignore[assignment]

    def plant(self, fault: Fault) -> Fault:
        self._connection.fault = fault
        return fault

    def contents(self) -> Contents:
        return contents(self.path)


@pytest.fixture
async def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Victim]:
    # so that every commit also prunes the log of changes, which it does rarely otherwise
    monkeypatch.setattr(changes, "_PRUNE_EVERY", 1)
    monkeypatch.setattr(changes, "OUTBOX_ROWS_KEPT", 2)
    path = tmp_path / "store.db"
    records = SqliteRecords(path, ManualClock(), seeded_ids(ManualClock(), seed=1))
    await records.open(SPACE)
    await commit(records, *BEGINNING)
    assert await records.lease("me", NOW, 60.0) is not None
    yield Victim(path, records)
    await records.close()


async def steps_of(victim: Victim, work: Callable[[], Awaitable[object]]) -> int:
    """How many statements a piece of work takes; it is carried out."""
    count = victim.plant(Fault(0))
    await work()
    victim.plant(Fault(0))
    return count.steps


@pytest.mark.parametrize("name", COMMITS)
async def test_a_commit_that_fails_at_any_statement_changes_nothing(
    victim: Victim, name: str
) -> None:
    before = victim.contents()
    at = 0
    while True:
        at += 1
        fault = victim.plant(Fault(at, error=disk_error))
        try:
            await commit(victim.records, *COMMITS[name])
        except StoreUnavailableError:
            assert victim.contents() == before, f"statement {at}"
        else:
            break
    assert fault.steps == at - 1, "every statement has failed once"
    assert at > 5
    assert victim.contents() != before


@pytest.mark.parametrize("name", COMMITS)
async def test_a_commit_whose_answer_is_lost_is_there_or_is_not(victim: Victim, name: str) -> None:
    before = victim.contents()
    outcomes = []
    for at in range(1, 1_000):
        victim.plant(Fault(at, late=True, error=disk_error))
        with pytest.raises(StoreUnavailableError):
            await commit(victim.records, *COMMITS[name])
        outcomes.append(victim.contents() == before)
        if not outcomes[-1]:
            break
    assert outcomes == [True] * (len(outcomes) - 1) + [False], "only COMMIT makes it last"
    victim.plant(Fault(0))
    assert await victim.records.stats(RED)


async def test_a_failing_commit_does_not_take_others_with_it(victim: Victim) -> None:
    async def together() -> list[object]:
        many = (commit(victim.records, put(f"m{n}", f"text {n}")) for n in range(5))
        return list(await asyncio.gather(*many, return_exceptions=True))

    begins = {1}
    steps = await steps_of(victim, together)
    for at in range(1, steps + 2):
        await commit(victim.records, RemoveMemories(filter=Everything(), at=NOW))
        victim.plant(Fault(at, error=disk_error))
        results = await together()
        victim.plant(Fault(0))
        stored = {id_ for answer in results if isinstance(answer, list) for id_ in answer}
        failed = [answer for answer in results if not isinstance(answer, list)]
        assert all(isinstance(error, StoreUnavailableError) for error in failed)
        assert len(failed) <= 1 or at in begins, "a database that is away is away for all"
        found = await victim.records.fetch(RED, [f"m{n}" for n in range(5)])
        assert {memory.id for memory in found} == stored


async def test_a_disk_that_is_gone_and_comes_back_leaves_the_store_usable(victim: Victim) -> None:
    before = victim.contents()
    steps = await steps_of(victim, lambda: commit(victim.records, EditMemory(memory_id="x", at=1)))
    for at in range(1, steps + 3):
        victim.plant(Fault(at, lasting=True, error=disk_error))
        for _ in range(2):
            with pytest.raises(StoreError):
                await commit(victim.records, put("new", "new", supersedes=["a"]))
        victim.plant(Fault(0))
        assert victim.contents() == before
        await commit(victim.records)
    await commit(victim.records, put("new", "new"))
    assert [memory.id for memory in await victim.records.fetch(RED, ["new"])] == ["new"]


QUEUE: dict[str, Callable[[SqliteRecords], Awaitable[object]]] = {
    "lease": lambda records: records.lease("you", NOW + 100, 60.0),
    "lease_one": lambda records: records.lease_one(RED, "j", "you", NOW + 100, 60.0),
    "heartbeat": lambda records: records.heartbeat(RED, "j", "me", NOW, 99.0),
    "rerun": lambda records: records.rerun(RED, "dead", NOW),
}


@pytest.mark.parametrize("name", QUEUE)
async def test_a_job_is_moved_or_is_not(victim: Victim, name: str) -> None:
    await commit(victim.records, put_job("dead", "t", state="FAILED"))
    before = victim.contents()
    at = 0
    while True:
        at += 1
        victim.plant(Fault(at, error=disk_error))
        try:
            moved = await QUEUE[name](victim.records)
        except StoreUnavailableError:
            assert victim.contents() == before, f"statement {at}"
        else:
            break
    assert moved
    assert at > 3
    assert victim.contents() != before


async def test_a_fault_between_would_be_seen(victim: Victim) -> None:
    """The guard itself: a store that commits in the middle is caught."""
    before = victim.contents()
    plain = queue.finish

    def finish(connection: Any, *rest: Any) -> None:
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        plain(connection, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "finish", finish)
        end = FinishJob(job_id="j", owner="you", state="SUCCEEDED", at=NOW)
        with pytest.raises(ConflictError):
            await commit(victim.records, put("half", "done"), end)
    assert victim.contents() != before


# ------------------------------------------------------------------ the engine's calls to its store

Verb = Callable[[Parts, str], Awaitable[object]]


async def _update(parts: Parts, memory_id: str) -> object:
    request = updating.UpdateRequest(memory_id=memory_id, text="I like milk", metadata={"k": 1})
    return await updating.update(parts, request)


VERBS: dict[str, Verb] = {
    "add": lambda parts, _: add(parts, ["I have a cat", "and a dog"], "alice", at=NOW + 5),
    "add with a key": lambda parts, _: add(
        parts, "I have a cat", "alice", at=NOW + 5, idempotency_key="k"
    ),
    "update": _update,
    "delete": deleting.delete,
    "delete_all": lambda parts, _: deleting.delete_all(parts, of_user("alice")),
    "reset": lambda parts, _: deleting.reset(parts),
    "search": lambda parts, _: find(parts, "tea", "alice"),
}


@pytest.mark.parametrize("late", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("name", VERBS)
async def test_a_verb_whose_store_fails_at_any_call_says_so(
    tmp_path: Path, name: str, late: bool
) -> None:
    path = tmp_path / "store.db"
    async with opened(path, clock=ManualClock()) as parts:
        [memory_id, _] = await add(parts, ["I like tea", "I live in Oslo"], "alice", at=NOW)
        before = contents(path)
        states = [before]
        for at in range(1, 50):
            fault = Fault(at, late=late)
            store: Any = FailingStore(parts.records, fault)  # type: ignore[arg-type]
            index = EmbeddedIndex(store, DIMENSIONS, 2**20)
            failing = replace(parts, records=store, jobs=store, index=index)
            try:
                await VERBS[name](failing, memory_id)
            except StoreUnavailableError:
                states.append(contents(path))
                if states[-1] != before:
                    break
            else:
                break
        assert fault.steps >= 1, "the verb calls its store"
        assert states[:-1] == [before] * (len(states) - 1), "before until it is after"
        after = len(await find(parts, "tea", "alice"))
        assert after in {"add": {2, 4}, "add with a key": {2, 3}}.get(name, {0, 1, 2})
