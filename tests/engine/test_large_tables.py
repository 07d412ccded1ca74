"""What is asked all day looks nothing up by walking through a large table.

The store is small, but SQLite is told that it is large: its statistics are those of a million
memories. Then the usual calls are made, and the plan of each statement they ran is looked at.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.backends.sqlite.connect import SqliteConnection, connect
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.ports import FinishJob
from holdfast.testing.contracts.values import (
    ALICE,
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

ROWS: Final = 900_000
"""As many as SQLite takes a table without statistics to have, a temporary one say, or less."""
LARGE: Final = (
    "audit embeddings entities history jobs memories messages outbox sources usage"
).split()
USUAL: Final = {
    "entities": f"{ROWS} {ROWS} {ROWS // 4} 1",
    "history_by_memory": f"{ROWS} {ROWS} 2",
    "jobs_failed": "1000 1000 1",
    "jobs_unfinished": "100000 100000 10 1",
    "memories_aside": "1000 1000 1",
    "outbox_by_generation": "200000 50",
    "usage_by_time": f"{ROWS} {ROWS} 1",
}
"""What SQLite believes of an index: its rows, and how many are alike in the first columns."""

Usual = Callable[[Path, int], Awaitable[None]]

COUNTED: Final = ("COVERING INDEX", "INDEX jobs_failed", "INDEX jobs_unfinished", "memories_aside")
"""Indexes that are smaller than the table by far."""

_NAMED: Final = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INTO)\s+({'|'.join(LARGE)})\b(?:\s+(\w+))?")
_WALKS: Final = re.compile(r"(?:SCAN|BLOOM FILTER ON) (\w+)|AUTOMATIC")


def pretend(path: Path) -> None:
    """Have SQLite believe that every large table has a million rows."""
    connection = sqlite3.connect(path)
    connection.execute("ANALYZE")
    connection.execute("DELETE FROM sqlite_stat1")
    indexes = "SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'index'"
    for table, name, _ in connection.execute(indexes).fetchall():
        if table in LARGE:
            columns = len(connection.execute(f"PRAGMA index_info({name})").fetchall())
            told = [ROWS, *[ROWS, 50, 50, 50][: columns - 1], 1]
            stat = USUAL.get(name, " ".join(map(str, told)))
            connection.execute("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (table, name, stat))
    for table in ("embeddings", "sources"):
        row = (table, table, f"{ROWS} 1 1")
        connection.execute("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", row)
    connection.commit()
    connection.close()


def walks(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of a statement's plan that go through a whole large table."""
    names = {alias or table: table for table, alias in _NAMED.findall(sql)}
    names |= {table: table for table in names.values()}
    values: Any = dict.fromkeys(re.findall(r":(\w+)", sql)) or (None,) * sql.count("?")
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
    steps = [step for *_, step in plan]
    if sql.lstrip().startswith("SELECT") and "count(*)" in sql:  # an index is enough to count
        steps = [step for step in steps if not any(name in step for name in COUNTED)]
    found = [(step, match) for step in steps if (match := _WALKS.match(step))]
    return [step for step, match in found if match[1] is None or match[1] in names]


@pytest.fixture
def asked() -> Iterator[set[str]]:
    """The statements that were run."""
    seen: set[str] = set()
    run = SqliteConnection.execute

    def execute(self: SqliteConnection, sql: str, *given: Any) -> sqlite3.Cursor:
        seen.add(sql)
        return run(self, sql, *given)

    with patch.object(SqliteConnection, "execute", execute):
        yield seen


async def _a_day(path: Path, day: int) -> None:
    """What applications ask of a store."""
    async with AsyncAdmin({"path": str(path), "workers": 0}) as admin:
        memory, ana = admin.memory(), {"user_id": "ana"}
        for text in ("Ana lives in Porto.", "Ana has a cat.", "Ana plays chess."):
            added = await memory.add(text, infer=False, idempotency_key=f"{day} {text}", **ana)
        both = {"agent_id": "guide", "run_id": "r"}
        await memory.add("It rains.", infer=False, metadata={"a": 1}, **ana, **both)
        first = added["results"][0]["id"]
        await memory.update(first, "Ana plays chess and go.")
        await memory.search("where does Ana live", filters=ana)
        await memory.get(first)
        await memory.history(first)
        await memory.provenance(first)
        page = await memory.get_all(filters=ana, top_k=2)
        await memory.get_all(filters=ana, top_k=2, cursor=page["cursor"])
        await memory.delete(first)
        await memory.search("a cat", filters=ana)
        await memory.delete_all(**ana)


async def _work(path: Path, day: int) -> None:
    """What workers ask of it."""
    clock = ManualClock()
    store = SqliteRecords(path / "work.db", clock, seeded_ids(clock, seed=1))
    await store.open(SPACE)
    turn, job, first, then = f"t{day}", f"j{day}", f"f{day}", f"g{day}"
    await commit(store, turns(turn), raw(f"r{day}", turn), put_job(job))
    assert (await store.lease("me", NOW, 60.0)) is not None
    assert await store.heartbeat(RED, job, "me", NOW, 60.0)
    done = FinishJob(job_id=job, owner="me", at=NOW, state="SUCCEEDED")
    await commit(store, put(first, f"tea {day}", turns=[turn], vec=vector(1.0)), done)
    await commit(store, put(then, f"much tea {day}", turns=[turn], supersedes=[first]))
    await store.delta(RED, ALICE, None)
    await store.delta(RED, ALICE, 1)
    await store.census(NOW)
    await store.stats(RED)
    await store.close()


@pytest.mark.parametrize(
    ("usual", "name", "least"), [(_a_day, "holdfast.db", 40), (_work, "work.db", 20)]
)
async def test_nothing_usual_walks_through_a_large_table(
    tmp_path: Path, asked: set[str], usual: Usual, name: str, least: int
) -> None:
    await usual(tmp_path, 1)
    pretend(tmp_path / name)
    asked.clear()
    await usual(tmp_path, 2)
    planned = [sql for sql in asked if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql)]
    assert len(planned) > least
    with closing(connect(tmp_path / name)) as connection:
        connection.execute(connection.dialect.doomed)
        found = {sql: walks(connection, sql) for sql in planned}
    assert {sql: steps for sql, steps in found.items() if steps} == {}
