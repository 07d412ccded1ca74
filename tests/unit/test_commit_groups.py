"""Commits that share a SQLite transaction: each means what it would mean after those before it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.errors import ConflictError, ReplayedError
from holdfast.model import Entity, Json, Space
from holdfast.ports import Op, Reset
from holdfast.testing.contracts.values import (
    ALICE,
    BLUE,
    NOW,
    RED,
    commit,
    events,
    put,
    put_job,
    raw,
    replica,
    turns,
    vector,
)

SPACE = Space(provider="tests", model="small", dimensions=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteRecords]:
    clock = ManualClock()
    records = SqliteRecords(path, clock, seeded_ids(clock, 1))
    await records.open(SPACE)
    yield records
    await records.close()


async def together(store: SqliteRecords, *commits: Sequence[Op]) -> list[Json]:
    """The results of commits that arrive in one turn of the loop."""
    asked = (commit(store, *ops) for ops in commits)
    return await asyncio.gather(*asked, return_exceptions=True)


def rows(path: Path, sql: str) -> list[tuple[Json, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def test_many_commits_are_stored_in_order_under_one_generation(
    store: SqliteRecords, path: Path
) -> None:
    names = [f"m{number}" for number in range(150)]
    results = await together(
        store,
        *(
            [turns(f"t{name}"), put(name, name, turns=[f"t{name}"], vec=vector(1))]
            for name in names
        ),
    )
    assert results == [[None, name] for name in names]
    assert [id_ for (id_,) in rows(path, "SELECT id FROM memories ORDER BY no")] == names
    assert (await store.state(RED, ALICE)).memories == 150
    assert rows(path, "SELECT count(DISTINCT generation), count(*) FROM outbox") == [(1, 150)]
    [linked] = rows(
        path,
        "SELECT count(*) FROM sources s JOIN memories m ON m.no = s.memory_no "
        "JOIN messages t ON t.no = s.message_no WHERE t.id = 't' || m.id",
    )
    assert linked == (150,)
    assert rows(path, "SELECT count(*) FROM embeddings e JOIN memories ON no = memory_no") == [
        (150,)
    ]
    assert await events(store, "m149") == ["ADD"]


async def test_duplicates_in_a_group_get_the_first_ones_id(store: SqliteRecords) -> None:
    await commit(store, turns("t1", "t2", "t3"), *(raw(f"r{n}", f"t{n}") for n in (1, 2, 3)))
    found = await together(
        store,
        [put("a", "likes tea", turns=["t1"])],
        [put("b", "likes tea", turns=["t2"])],
        [put("c", "likes jam", turns=["t3"])],
        [put("a", "likes tea")],
    )
    assert found == [["a"], ["a"], ["c"], ["a"]]
    assert (await replica(store)).told == {("r1", "a"), ("r2", "a"), ("r3", "c")}
    assert (await store.state(RED, ALICE)).memories == 5


async def test_a_taken_id_fails_its_own_commit_only(store: SqliteRecords) -> None:
    kept, failed, other = await together(
        store,
        [put("a", "one")],
        [turns("t"), put("b", "two"), put("a", "three")],
        [put("c", "four")],
    )
    assert (kept, other) == (["a"], ["c"])
    assert isinstance(failed, ConflictError)
    assert "memory id a" in str(failed)
    assert await store.fetch(RED, ["b"]) == []
    assert await store.turns(RED, ["t"]) == []


async def test_a_turn_that_comes_later_is_not_linked(store: SqliteRecords) -> None:
    await together(store, [put("f", turns=["t"])], [turns("t"), raw("r", "t")])
    assert (await replica(store)).told == set()


async def test_a_reset_forgets_what_the_commits_before_it_put(store: SqliteRecords) -> None:
    await commit(store, put("before", "known"))
    known = await replica(store)
    await together(store, [put("a", "one")], [Reset()], [put("b", "two", updated_at=NOW + 5)])
    assert (await store.state(RED, ALICE)).memories == 1
    [[alice], counts] = await store.entities(RED, 0, 10)
    assert (alice.memories, alice.created_at, counts) == (1, NOW + 5, {"user": 1})
    await known.refresh(store, ALICE, RED)
    assert known.known[0] == ["b"]


async def test_an_entity_is_as_old_as_the_first_commit_of_the_group(store: SqliteRecords) -> None:
    times = (NOW + 2, NOW + 9, NOW + 4)
    await together(store, *([put(f"m{at}", str(at), updated_at=at)] for at in times))
    [[alice], _] = await store.entities(RED, 0, 10)
    assert (alice.created_at, alice.updated_at, alice.memories) == (NOW + 2, NOW + 9, 3)


async def test_projects_in_a_group_stay_apart(store: SqliteRecords) -> None:
    one, other = await asyncio.gather(
        commit(store, turns("t"), put("a", turns=["t"]), project=RED),
        commit(store, turns("t"), put("a", turns=["t"]), project=BLUE),
    )
    assert one == other == [None, "a"]
    for project in (RED, BLUE):
        assert (await store.state(project, ALICE)).memories == 1
        assert (await store.state(project, Entity("user", "bob"))).memories == 0


async def test_a_job_tells_the_ids_of_what_was_put_before_it(store: SqliteRecords) -> None:
    result = [{"id": "b", "event": "ADD"}]
    await together(
        store, [put("a", "tea")], [put("b", "tea"), put_job("j", state="SUCCEEDED", result=result)]
    )
    job = await store.job(RED, "j")
    assert job is not None
    assert job.result == [{"id": "a", "event": "NONE"}]


async def test_jobs_of_a_group_are_one_statement(store: SqliteRecords) -> None:
    statements: list[str] = []
    assert store._writer is not None
    store._writer._connection.set_trace_callback(statements.append)
    await together(store, *([put_job(f"job-{number}")] for number in range(32)))
    inserts = [sql for sql in statements if "INSERT INTO jobs" in sql]
    assert len(inserts) == 1
    assert [job.id for job in await store.jobs(RED, None, 0, 40)][::31] == ["job-31", "job-0"]


async def test_of_two_jobs_with_one_key_the_second_is_told(store: SqliteRecords) -> None:
    keyed = (put_job(f"job-{number}", idempotency_key="once") for number in (1, 2))
    results = await together(store, *([op] for op in keyed), [put_job("job-3")])
    assert results[0] == results[2] == [None]
    assert isinstance(results[1], ReplayedError)
    assert results[1].job_id == "job-1"
