"""Every record store keeps every sentence of `ports.audit.Trail`; planted faults break each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.backends.memory.audit import Audit, MemoryTrail
from holdfast.backends.memory.directory import MemoryDirectory
from holdfast.backends.memory.records import MemoryRecords, Store
from holdfast.backends.memory.tables import Transaction
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.directory import Row, Where
from holdfast.model import Json, Project
from holdfast.ports import Op, PutAudit
from holdfast.ports.audit import Chain
from holdfast.testing.contracts.audit import AuditContract
from holdfast.testing.contracts.values import SPACE, Make
from holdfast.trail import AuditRow
from support import postgres
from support.sealed import sealing


class TestMemoryAudit(AuditContract):
    @pytest.fixture
    def make(self) -> Make:
        shared, ids = Store(), seeded_ids(ManualClock(), seed=1)
        return lambda: MemoryRecords(shared, ids)


class TestSqliteAudit(AuditContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


class TestSealedAudit(AuditContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        path = tmp_path / "store.db"
        return lambda: SqliteRecords(path, ManualClock(), ids, sealing=sealing())


class TestPostgresAudit(AuditContract):
    @pytest.fixture
    def make(self) -> Iterator[Make]:
        ids = seeded_ids(ManualClock(), seed=1)
        with postgres.database() as url:
            yield lambda: postgres.records(url, ids=ids)


# ------------------------------------------------------------------------------ faults


class Broken(MemoryTrail):
    """Base of the audits with a fault."""


class LosesFields(Broken):
    async def rows(self, project: Project, *where: Where, **how: Any) -> Sequence[AuditRow]:
        found = await super().rows(project, *where, **how)
        return [replace(row, address="") for row in found]


class TellsAllProjects(Broken):
    async def chains(self, project: Project | None = None) -> Sequence[Chain]:
        return await super().chains()


class TellsNothingOfAll(Broken):
    async def chains(self, project: Project | None = None) -> Sequence[Chain]:
        return [] if project is None else await super().chains(project)


class ForgetsConditions(Broken):
    async def rows(self, project: Project, *where: Where, **how: Any) -> Sequence[AuditRow]:
        return await super().rows(project, *where[:1], **how)


class OldestFirst(Broken):
    async def rows(self, project: Project, *where: Where, **how: Any) -> Sequence[AuditRow]:
        return await super().rows(project, *where, **{**how, "newest_first": False})


class KeysOfEachHandle(Broken):
    async def keys(self) -> Mapping[str, bytes]:
        return {"store": str(id(self._records)).encode().rjust(16, b"x")}


class PrunesEverything(Broken):
    async def prune(self, project: Project, upto: int, limit: int) -> int:
        audit = self._records.tables.audit
        gone = len(audit.rows.get(project, ()))
        audit.rows[project] = ()
        return gone


class PrunesAtOnce(Broken):
    async def prune(self, project: Project, upto: int, limit: int) -> int:
        return await super().prune(project, upto, 10**6)


class LeavesTheHead(Broken):
    async def prune(self, project: Project, upto: int, limit: int) -> int:
        audit = self._records.tables.audit
        head = audit.heads.get(project)
        count = await super().prune(project, upto, limit)
        if head is not None:
            self._records.tables.audit.heads[project] = head
        return count


class House(MemoryDirectory):
    """Base of the directories with a fault."""


class InsertsWithout(House):
    async def insert(self, *rows: Row) -> None:
        await super().insert(*(row for row in rows if not isinstance(row, AuditRow)))


class InsertsItFirst(House):
    async def insert(self, *rows: Row) -> None:
        await super().insert(*(row for row in rows if isinstance(row, AuditRow)))
        await super().insert(*(row for row in rows if not isinstance(row, AuditRow)))


class ChangesWithout(House):
    async def update(self, kind: type[Row], *where: Where, values: Any, insert: Any = ()) -> int:
        return await super().update(kind, *where, values=values)


class TellsWhatDidNotHappen(House):
    async def delete(self, kind: type[Row], *where: Where, insert: Sequence[Row] = ()) -> int:
        count = await super().delete(kind, *where)
        await self.insert(*insert)
        return count


class Faulty(Transaction):
    """Base of the transactions with a fault."""


class DropsRows(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        kept = [op for op in ops if not isinstance(op, PutAudit)]
        results = iter(super().run(kept))
        return [None if isinstance(op, PutAudit) else next(results) for op in ops]


class TellsNumbers(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        return [1 if result is None else result for result in super().run(ops)]


class TakesAnyProject(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        self.project = next(
            (Project(op.rows[0].project) for op in ops if isinstance(op, PutAudit)), self.project
        )
        return super().run(ops)


class CountsNothing(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        told = [
            PutAudit(rows=tuple(replace(row, count=row.count or 0) for row in op.rows))
            if isinstance(op, PutAudit)
            else op
            for op in ops
        ]
        return super().run(told)


class ForgetsWithMemories(Faulty):
    def reset(self) -> None:
        super().reset()
        self.tables.audit = Audit()


class LinksNothing(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        results = super().run(ops)
        audit = self.tables.audit
        for project, rows in audit.rows.items():
            audit.rows[project] = tuple(replace(row, previous="") for row in rows)
        return results


class CommitsTheRowAnyhow(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        try:
            return super().run(ops)
        except Exception:
            told = [row for op in ops if isinstance(op, PutAudit) for row in op.rows]
            FAILED.store.tables.audit.append(told, 0)
            raise


class OneChain(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        results = super().run(ops)
        audit = self.tables.audit
        every = [row for rows in audit.rows.values() for row in rows]
        numbered = [replace(row, no=no) for no, row in enumerate(every, 1)]
        for project in audit.rows:
            audit.rows[project] = tuple(row for row in numbered if row.project == project)
        return results


class NumbersBackwards(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        turned = [PutAudit(rows=op.rows[::-1]) if isinstance(op, PutAudit) else op for op in ops]
        return super().run(turned)


class SignsNothing(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        results = super().run(ops)
        heads = self.tables.audit.heads
        for project, head in heads.items():
            heads[project] = replace(head, mac="")
        return results


class NamesThem(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        results = super().run(ops)
        told = [row for op in ops if isinstance(op, PutAudit) for row in op.rows]
        audit = self.tables.audit
        for project, rows in audit.rows.items():
            audit.rows[project] = tuple(
                replace(row, user_id=given.user_id)
                for row, given in zip(rows[-len(told) :], told, strict=False)
            )
        return results


class ForgetsOnClosing(MemoryRecords):
    async def close(self) -> None:
        self._store.tables.audit = Audit()
        await super().close()


class _Failed:
    """The store whose commit fails."""

    store = Store()


FAILED = _Failed()
FAULTS: Mapping[str, type[Any]] = {
    kind.__name__: kind for base in (Broken, House, Faulty) for kind in base.__subclasses__()
} | {"ForgetsOnClosing": ForgetsOnClosing}
SENTENCES = [name for name in dir(AuditContract) if name.startswith("test_")]


async def broken_by(fault: type[Any] | None) -> set[str]:
    """The sentences that do not hold with a fault."""
    found = set()
    is_store = fault is not None and issubclass(fault, MemoryRecords)
    changes = {"transaction": fault} if fault and issubclass(fault, Transaction) else {}
    records = fault if is_store else type("Planted", (MemoryRecords,), changes)
    trail = fault if fault and issubclass(fault, MemoryTrail) else MemoryTrail
    house = fault if fault and issubclass(fault, MemoryDirectory) else MemoryDirectory
    for name in SENTENCES:
        shared, ids = Store(), seeded_ids(ManualClock(), seed=1)
        FAILED.store = shared
        make = lambda shared=shared, ids=ids: records(shared, ids)  # noqa: E731
        store = make()
        await store.open(SPACE)
        given: dict[str, Any] = {
            "make": make, "store": store, "trail_of": trail, "of": house,
            "trail": trail(store), "directory": house(store),
        }  # fmt: skip
        wanted = inspect.signature(getattr(AuditContract, name)).parameters
        try:
            await getattr(AuditContract(), name)(**{k: given[k] for k in given if k in wanted})
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
            found.add(name)
    return found


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    assert await broken_by(None) == set()
    caught = {name: await broken_by(fault) for name, fault in FAULTS.items()}
    assert [name for name, sentences in caught.items() if not sentences] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
