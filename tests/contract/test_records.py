"""Every record store keeps every sentence of `ports.Records` and `ports.Jobs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Tables
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import Ids, ManualClock, seeded_ids
from holdfast.testing.contracts.jobs import JobsContract
from holdfast.testing.contracts.records import RecordsContract
from holdfast.testing.contracts.values import Make


def ids() -> Ids:
    return seeded_ids(ManualClock(), seed=1)


class MemoryFixture:
    @pytest.fixture
    def make(self) -> Make:
        shared = Tables()
        return lambda: MemoryRecords(shared, ids())


class SqliteFixture:
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids())


class TestMemoryRecords(MemoryFixture, RecordsContract):
    pass


class TestMemoryJobs(MemoryFixture, JobsContract):
    pass


class TestSqliteRecords(SqliteFixture, RecordsContract):
    pass


class TestSqliteJobs(SqliteFixture, JobsContract):
    pass
