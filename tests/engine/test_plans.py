"""What an index reads of an entity, it reads by keys, however much else there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.backends.sql import deltas, indexing
from holdfast.backends.sqlite.connect import SqliteConnection
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.testing.contracts.values import ALICE, RED, SPACE, commit, put, raw, turns

COUNT = 300


class Explaining:
    """A connection that takes down how SQLite goes about each statement."""

    def __init__(self, inner: SqliteConnection) -> None:
        self._inner = inner
        self.dialect, self.sealer = inner.dialect, inner.sealer
        self.steps: list[str] = []

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        plan = self._inner.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.steps += [step for *_, step in plan]
        return self._inner.execute(sql, parameters)

    def executemany(self, *_: object) -> None:
        raise AssertionError("nothing is written")


@pytest.mark.parametrize("since", [None, 0])
async def test_an_index_reads_by_keys(tmp_path: Path, since: int | None) -> None:
    clock = ManualClock()
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, seed=1))
    await records.open(SPACE)
    await commit(records, turns("t"), raw("raw", "t"), put("fact", turns=["t"]))
    await commit(records, *(put(f"m{n}", f"fact {n}") for n in range(COUNT)))

    def read(connection: Any) -> list[str]:
        explaining = Explaining(connection)
        found = deltas.delta(explaining, RED, ALICE, since, None)
        assert len(found.entries) == COUNT + 2
        assert found.told == (("raw", "fact"),)
        ids = [f"m{n}" for n in range(COUNT)]
        indexing.excerpt(explaining, project=RED, entity=ALICE, ids=ids, latest=64)
        return explaining.steps

    steps = await records.read(RED, read)
    await records.close()
    small = ("spaces", "s", "json_each", "erasures")
    walks = [step for step in steps if step.startswith("SCAN") and step.split()[1] not in small]
    assert not walks
    assert not [step for step in steps if "(project=?)" in step], "the whole project"
