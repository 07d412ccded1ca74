"""Every directory keeps every sentence of `ports.Directory`; planted faults break each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast.backends.memory.directory import MemoryDirectory
from holdfast.backends.memory.records import MemoryRecords, Store
from holdfast.backends.memory.tables import Transaction
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.directory import Account, Change, Held, Row, Where
from holdfast.errors import ConflictError, NotFoundError, ValidationError
from holdfast.filters import Filter
from holdfast.model import Json
from holdfast.ports import Op, PutRows, TakeRow
from holdfast.testing.contracts.directory import DirectoryContract
from holdfast.testing.contracts.values import SPACE, Make


class TestMemoryDirectory(DirectoryContract):
    @pytest.fixture
    def make(self) -> Make:
        shared, ids = Store(), seeded_ids(ManualClock(), seed=1)
        return lambda: MemoryRecords(shared, ids)


class TestSqliteDirectory(DirectoryContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        ids = seeded_ids(ManualClock(), seed=1)
        return lambda: SqliteRecords(tmp_path / "store.db", ManualClock(), ids)


# ------------------------------------------------------------------------------ faults


class Broken(MemoryDirectory):
    """Base of the directories with a fault."""


class LosesFields(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        rows = await super().select(kind, *where, **how)
        fields = {"description", "error", "reason", "users"} & set(kind.__struct_fields__)
        return [replace(row, **dict.fromkeys(fields)) for row in rows]


class KeepsAsciiOnly(Broken):
    async def insert(self, *rows: Row) -> None:
        await super().insert(*(r for r in rows if str(getattr(r, "email", "")).isascii()))


class StoresOneByOne(Broken):
    async def insert(self, *rows: Row) -> None:
        for row in rows:
            await super().insert(row)


class Overwrites(Broken):
    async def insert(self, *rows: Row) -> None:
        try:
            await super().insert(*rows)
        except ConflictError:
            return


class AddressesAreNotUnique(Broken):
    async def insert(self, *rows: Row) -> None:
        kept = [replace(r, email=r.id) if isinstance(r, Account) else r for r in rows]
        await super().insert(*kept)


class LooksAtTheFirstCondition(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        return await super().select(kind, *where[:1], **how)


class CountsAll(Broken):
    async def count(self, kind: type[Row], *where: Where) -> int:
        return await super().count(kind)


class TakesNoneForAnything(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        return await super().select(kind, *(w for w in where if w.value is not None), **how)


class InsertionOrder(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        how.pop("order", None)
        return await super().select(kind, *where, **how)


class OldestFirst(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        return await super().select(kind, *where, **{**how, "newest_first": False})


class WholePages(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        return await super().select(kind, *where, **{**how, "offset": 0})


class BelievesFields(Broken):
    async def select(self, kind: Any, *where: Where, **how: Any) -> Any:
        try:
            return await super().select(kind, *where, **how)
        except ValidationError:
            return []


class UpdatesAll(Broken):
    async def update(self, kind: type[Row], *where: Where, values: Any, insert: Any = ()) -> int:
        return await super().update(kind, *where[:1], values=values, insert=insert)


class InsertsAnyway(Broken):
    async def update(self, kind: type[Row], *where: Where, values: Any, insert: Any = ()) -> int:
        count = await super().update(kind, *where, values=values)
        await self.insert(*insert)
        return count


class InsertsNothing(Broken):
    async def update(self, kind: type[Row], *where: Where, values: Any, insert: Any = ()) -> int:
        return await super().update(kind, *where, values=values)


class SaysOneWasChanged(Broken):
    async def update(self, kind: type[Row], *where: Where, values: Any, insert: Any = ()) -> int:
        return min(1, await super().update(kind, *where, values=values, insert=insert))


class DeletesAll(Broken):
    async def delete(self, kind: type[Row], *where: Where) -> int:
        return await super().delete(kind, *where[:1])


class NeedsNoCondition(Broken):
    def _require(self, kind: type[Row], where: Sequence[Where]) -> None:
        """Nothing."""


class StampOfItsOwn(Broken):
    """Counts what this handle wrote."""

    async def insert(self, *rows: Row) -> None:
        await super().insert(*rows)
        self._records.__dict__["own"] = await self.stamp() + 1

    async def stamp(self) -> int:
        return int(self._records.__dict__.get("own", 0))


class StampsEverything(Broken):
    async def insert(self, *rows: Row) -> None:
        await super().insert(*rows)
        self._records.tables.stamp += 1


class ForgetsToStampDeletions(Broken):
    async def delete(self, kind: type[Row], *where: Where) -> int:
        before = self._records.tables.stamp
        count = await super().delete(kind, *where)
        self._records.tables.stamp = before
        return count


class FeedsOneProject(Broken):
    def _feed(self) -> list[Change]:
        return [change for change in super()._feed() if change.project == "red"]


class FeedsBackwards(Broken):
    def _feed(self) -> list[Change]:
        return super()._feed()[::-1]


class FeedsWithoutCategories(Broken):
    def _feed(self) -> list[Change]:
        return [replace(change, categories=()) for change in super()._feed()]


class FeedsAgain(Broken):
    async def changes(self, after: int, size: int) -> Sequence[Change]:
        return await super().changes(after - 1, size)


class NumbersAfresh(Broken):
    def _feed(self) -> list[Change]:
        return [replace(change, no=place) for place, change in enumerate(super()._feed(), 1)]


class FeedsWhatIsGone(Broken):
    def _feed(self) -> list[Change]:
        return [replace(change, text=change.text or "gone") for change in super()._feed()]


class Faulty(Transaction):
    """Base of the transactions with a fault."""


class PutsRowsAnyhow(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        return super().run([op for op in ops if not isinstance(op, PutRows)])


class TakesNothing(Faulty):
    def change_rows(self, op: PutRows | TakeRow) -> None:
        if isinstance(op, PutRows):
            super().change_rows(op)


class TakesWhatIsGone(Faulty):
    def change_rows(self, op: PutRows | TakeRow) -> None:
        with suppress(NotFoundError):
            super().change_rows(op)


class TakesFromOthers(Faulty):
    def change_rows(self, op: PutRows | TakeRow) -> None:
        if isinstance(op, TakeRow) and self.tables.directory.pop((op.kind, (op.id,)), None):
            return
        super().change_rows(op)


class TakesUnnoticed(Faulty):
    def change_rows(self, op: PutRows | TakeRow) -> None:
        before = self.tables.stamp
        super().change_rows(op)
        self.tables.stamp = before


class KeepsWhatIsHeld(Faulty):
    def release(self, of: Filter) -> None:
        """Nothing."""


class ReleasesAll(Faulty):
    def release(self, of: Filter) -> None:
        kept = {key: row for key, row in self.tables.directory.items() if key[0] is not Held}
        self.tables.directory = kept


class ResetsAccess(Faulty):
    def reset(self) -> None:
        super().reset()
        self.tables.directory = {}


class ResetsMemoriesOnly(Faulty):
    def reset(self) -> None:
        kept = dict(self.tables.directory)
        super().reset()
        self.tables.directory = kept


class RemembersFeedback(Faulty):
    def forget(self, memory_ids: set[str]) -> None:
        """Nothing."""


class ForgetsAllFeedback(Faulty):
    def forget(self, memory_ids: set[str]) -> None:
        self.tables.directory = {}


FAULTS: Mapping[str, type[Any]] = {
    kind.__name__: kind for base in (Broken, Faulty) for kind in base.__subclasses__()
}
SENTENCES = [name for name in dir(DirectoryContract) if name.startswith("test_")]


async def broken_by(fault: type[Any] | None) -> set[str]:
    """The sentences that do not hold with a fault."""
    found = set()
    changes = {"transaction": fault} if fault and issubclass(fault, Transaction) else {}
    records = type("Planted", (MemoryRecords,), changes)
    house = fault if fault and issubclass(fault, MemoryDirectory) else MemoryDirectory
    for name in SENTENCES:
        shared, ids = Store(), seeded_ids(ManualClock(), seed=1)
        given: dict[str, Any] = {
            "make": lambda shared=shared, ids=ids: records(shared, ids),
            "of": house,
        }
        given["store"] = given["make"]()
        await given["store"].open(SPACE)
        given["directory"] = house(given["store"])
        wanted = inspect.signature(getattr(DirectoryContract, name)).parameters
        try:
            await getattr(DirectoryContract(), name)(**{k: given[k] for k in given if k in wanted})
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  (any failure is a failure)
            found.add(name)
    return found


async def test_planted_faults_are_caught_and_every_sentence_seen_to_fail() -> None:
    assert await broken_by(None) == set()
    caught = {name: await broken_by(fault) for name, fault in FAULTS.items()}
    assert [name for name, sentences in caught.items() if not sentences] == []
    assert set(SENTENCES) - set().union(*caught.values()) == set()
