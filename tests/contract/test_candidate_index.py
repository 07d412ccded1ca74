"""The index on a vector database keeps every sentence of `ports.Index`, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.backends.index.candidates import Bounds
from holdfast.backends.memory.records import MemoryRecords
from holdfast.backends.memory.records import Store as Shared
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.testing.contracts.index import IndexContract, Over
from holdfast.testing.contracts.values import SPACE, Make
from support.candidates import Restless, Rig


class OverMemory(IndexContract):
    turns: tuple[str, ...] = ("fed",)

    @pytest.fixture
    def make(self) -> Make:
        shared = Shared()
        return lambda: MemoryRecords(shared, seeded_ids(ManualClock(), seed=1))

    @pytest.fixture
    def over(self) -> Over:
        return lambda store: Restless(Rig(store, SPACE.dimensions), *self.turns)


class OverSqlite(OverMemory):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


class TestFedOverMemory(OverMemory):
    pass


class TestFedOverSqlite(OverSqlite):
    pass


class TestBehindOverMemory(OverMemory):
    turns = ("fed", "late", "late")


class TestBehindOverSqlite(OverSqlite):
    turns = ("fed", "late", "late")


class TestAway(OverSqlite):
    turns = ("away", "fed", "failing")


class TestWiped(OverSqlite):
    turns = ("fed", "wiped")


class TestNeverFed(OverMemory):
    turns = ("late",)


class TestSmall(OverSqlite):
    """Entities are ranked from the records while they are small, and grow beyond that."""

    turns = ("fed", "late")

    @pytest.fixture
    def over(self) -> Over:
        bounds = Bounds(exact_rows=3)
        return lambda store: Restless(Rig(store, SPACE.dimensions, bounds=bounds), *self.turns)
