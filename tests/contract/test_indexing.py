"""What record stores give an external index keeps every sentence of `ports.IndexSource`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.backends.memory import MemoryRecords
from holdfast.backends.memory import Store as Shared
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.testing.contracts.index import IndexContract, Over
from holdfast.testing.contracts.indexing import IndexSourceContract
from holdfast.testing.contracts.values import SPACE, Make
from support import postgres
from support.candidates import Restless, Rig


class TestMemory(IndexSourceContract):
    @pytest.fixture
    def make(self) -> Make:
        shared = Shared()
        return lambda: MemoryRecords(shared, seeded_ids(ManualClock(), seed=1))


class TestSqlite(IndexSourceContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


class OnPostgres:
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            yield lambda: postgres.records(url, ids=ids)


class TestPostgres(OnPostgres, IndexSourceContract):
    pass


class TestIndexOverPostgres(OnPostgres, IndexContract):
    """The index on a vector database, over records on Postgres; its engine is fed now and then."""

    @pytest.fixture
    def over(self) -> Over:
        return lambda store: Restless(Rig(store, SPACE.dimensions), "fed", "late")
