"""The data keys of subjects: made, wrapped by the keyring, kept in the store and in memory.

What a transaction needs is in memory before it begins, or it is run again once it is: a keyring
may be a service, which no transaction waits for.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.queries import chunks
from holdfast.backends.sql.rows import entity_ids
from holdfast.backends.sql.sealing import (
    CURRENT,
    NOBODY,
    Ids,
    KeyNeeded,
    Keys,
    KeysDestroyed,
    Need,
    Sealer,
    Subject,
    job_ids,
    subject_of,
)
from holdfast.core.erasure import mark_of
from holdfast.core.seal import KEY_BYTES, VERSIONS_MAX
from holdfast.directory import Held
from holdfast.directory import Row as DirectoryRow
from holdfast.errors import ConflictError, CorruptError
from holdfast.limits import SUBJECT_KEYS_MAX
from holdfast.model import ENTITY_KINDS, Entity, Project, Scope
from holdfast.ports import Op, PutJob, PutMemory, PutRows, PutTurns
from holdfast.ports.keyring import KeyRing

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

T = TypeVar("T")

_AT_ONCE: Final = 8
"""Keys a keyring is asked for at once."""

_SELECT: Final = """
SELECT project, kind, id, version, key_id, wrapped,
  EXISTS (SELECT 1 FROM erasures e WHERE e.project = subject_keys.project
          AND e.mark = subject_keys.id)
FROM subject_keys WHERE {some} ORDER BY project, kind, id, version
"""
_GONE: Final = "SELECT DISTINCT project, kind, id FROM subject_keys WHERE wrapped IS NULL"
_ONE: Final = "(project = ? AND kind = ? AND id = ?)"

_INSERT: Final = """
INSERT INTO subject_keys (project, kind, id, version, key_id, wrapped, created_at)
VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING
"""

Row = tuple[str, str, str, int, str, bytes | None, bool]
"""What `_SELECT` gives; the last says that the erasure of the subject is on record."""


class Sealing(NamedTuple):
    """What a store is sealed with."""

    ring: KeyRing
    sealer: Sealer


class SubjectKeys:
    """Gives a sealer the keys it needs."""

    def __init__(self, ring: KeyRing, sealer: Sealer, records: SqlRecords) -> None:
        self.ring = ring
        self.sealer = sealer
        self._records = records
        self._pinned: Counter[Subject] = Counter()
        """Whose keys are in use by calls under way."""
        self.loads = 0
        """How often the store was asked for keys."""

    async def with_keys(self, run: Callable[[], Awaitable[T]], needs: Collection[Need] = ()) -> T:
        """Run something that reads or writes sealed texts, again until no key is missing.

        `needs`: what it is known to need. Raises CorruptError for a key that is not there.
        """
        wanted = set(needs)
        if all(map(self.sealer.has, wanted)):
            try:
                return await run()
            except KeyNeeded as missing:
                wanted |= missing.needs
            except KeysDestroyed as told:
                await self._look_again(told.times)
        return await self._with_loaded(run, wanted)

    async def _with_loaded(self, run: Callable[[], Awaitable[T]], wanted: set[Need]) -> T:
        """Run it with keys that are loaded, and kept meanwhile."""
        kept: Counter[Subject] = Counter()
        asked: set[Need] = set()
        try:
            while True:
                kept.update(some := Counter(need.subject for need in wanted))
                self._pinned.update(some)
                asked |= wanted
                await self.load(wanted)
                try:
                    return await run()
                except KeyNeeded as missing:
                    wanted = set(missing.needs) - asked
                    if not wanted:
                        raise _lost(next(iter(missing.needs))) from None
                except KeysDestroyed as told:
                    await self._look_again(told.times)
                    wanted, asked = asked, set()
        finally:
            self._pinned.subtract(kept)
            self._pinned += Counter()  # drops those nobody uses
            self._shrink()

    async def bring(self, subject: Subject) -> None:
        """Bring the keys of a subject into memory, if it has any, for what is about to be read: it
        would find out in the middle, and begin again."""
        if not self.sealer.has(Need(subject, CURRENT)):
            rows = (await self._stored([subject])).get(subject, ())
            await self._hold(rows)
            self._shrink()

    async def _look_again(self, times: int) -> None:
        """Let go of keys that were destroyed: subjects were erased, by any process."""
        rows = await self._records.run_read(None, lambda c: c.execute(_GONE, ()).fetchall())
        gone = {tuple(row) for row in rows}
        for subject in self.sealer.oldest():
            if (subject.project, subject.kind, self._mark(subject)) in gone:
                self.sealer.drop(subject)
        self.sealer.destroyed = times

    def _mark(self, subject: Subject) -> str:
        """Under which id the destroyed keys of an erased subject are kept."""
        if subject.kind not in ENTITY_KINDS:
            return subject.id
        entity = Entity(subject.kind, subject.id)
        return mark_of(self._records.name, subject.project, entity)

    async def load(self, needs: Iterable[Need]) -> None:
        """Bring keys into memory; a subject without one gets its first. Raises KeyRingError."""
        missing = {need for need in needs if not self.sealer.has(need)}
        if not missing:
            return
        subjects = sorted({need.subject for need in missing})
        found = await self._stored(subjects)
        new = [
            need.subject
            for need in missing
            if need.version == CURRENT and _usable(found.get(need.subject, ())) == 0
        ]
        if new:
            await self.add(new, found)
            found |= await self._stored(sorted(new))
        rows = [row for subject in subjects for row in found.get(subject, ())]
        await self._hold(rows)

    async def add(self, subjects: Sequence[Subject], found: dict[Subject, Sequence[Row]]) -> None:
        """Give subjects a further key each; whoever comes second finds the first one's."""
        at = self._records.now()

        async def made(subject: Subject) -> tuple[Any, ...]:
            version = max((row[3] for row in found.get(subject, ())), default=0) + 1
            if version > VERSIONS_MAX:
                raise ConflictError(f"A subject has had {VERSIONS_MAX} keys already.")
            wrapped = await self.ring.wrap(secrets.token_bytes(KEY_BYTES), subject.bound(version))
            return (*subject, version, self.ring.primary, wrapped, at)

        rows = await _some_at_once(made, sorted(subjects))
        await self._records.run_write(None, lambda c: c.executemany(_INSERT, rows))

    async def renew(self, subjects: Sequence[Subject]) -> None:
        """Give subjects a new key, which is sealed with from now on by this process."""
        found = await self._stored(subjects)
        await self.add(subjects, found)
        for rows in (await self._stored(subjects)).values():
            await self._hold(rows)

    async def _stored(self, subjects: Sequence[Subject]) -> dict[Subject, Sequence[Row]]:
        """The rows of some subjects, by version."""
        self.loads += 1
        marks = {subject._replace(id=self._mark(subject)): subject for subject in subjects}

        def work(connection: Connection) -> list[Row]:
            rows: list[Row] = []
            for some in chunks(list(dict.fromkeys((*subjects, *marks)))):
                sql = _SELECT.format(some=" OR ".join([_ONE] * len(some)))
                rows += connection.execute(sql, [part for one in some for part in one]).fetchall()
            return rows

        rows = await self._records.run_read(None, work)
        rows = [(*marks.get(Subject(*_subject(row)), _subject(row)), *row[3:]) for row in rows]
        return {
            Subject(*key): [*group] for key, group in groupby(sorted(rows, key=_order), _subject)
        }

    async def _hold(self, rows: Sequence[Row]) -> None:
        """Unwrap the keys of some subjects, all of each, and keep them."""

        async def opened(row: Row) -> bytes | None:
            project, kind, id_, version, name, wrapped, _ = row
            if wrapped is None:
                return None
            return await self.ring.unwrap(name, wrapped, Subject(project, kind, id_).bound(version))

        keys = await _some_at_once(opened, rows)
        for key, group in groupby(zip(rows, keys, strict=True), lambda pair: _subject(pair[0])):
            pairs = list(group)
            known = {row[3]: value for row, value in pairs if value is not None}
            erased = frozenset(row[3] for row, _ in pairs if row[5] is None and row[6])
            current = _usable([row for row, _ in pairs])
            self.sealer.hold(Subject(*key), Keys(current, known, erased))

    def _shrink(self) -> None:
        if self.sealer.held <= SUBJECT_KEYS_MAX:
            return
        for subject in self.sealer.oldest():
            if not self._pinned[subject]:
                self.sealer.drop(subject)
            if self.sealer.held <= SUBJECT_KEYS_MAX:
                return


def needs_of(project: Project, ops: Sequence[Op]) -> set[Need]:
    """The keys that operations seal with, as far as they tell."""
    needs: set[Need] = set()
    for op in ops:
        ids: Ids
        match op:
            case PutMemory():
                ids = entity_ids(op.memory)
            case PutTurns():
                ids = _ids(op.scope)
            case PutJob():
                ids = job_ids(op.job.scope_key)
            case PutRows():
                needs |= {Need(subject_of(project, _ids_of(row)), CURRENT) for row in op.rows}
                continue
            case _:
                continue
        needs.add(Need(subject_of(project, ids), CURRENT))
    return needs


def _ids(scope: Scope) -> tuple[str | None, ...]:
    return (scope.user_id, scope.agent_id, scope.app_id, scope.run_id)


def _ids_of(row: DirectoryRow) -> tuple[str | None, ...]:
    return _ids(row.scope) if isinstance(row, Held) else NOBODY


def _usable(rows: Sequence[Row]) -> int:
    """The version that is sealed with: the newest, unless it was destroyed; then none."""
    last = max(rows, key=lambda row: row[3], default=None)
    return 0 if last is None or last[5] is None else last[3]


def _subject(row: Row) -> tuple[str, str, str]:
    return (row[0], row[1], row[2])


def _order(row: Row) -> tuple[str, str, str, int]:
    return (row[0], row[1], row[2], row[3])


def _lost(need: Need) -> CorruptError:
    return CorruptError(
        f"Texts of a {need.subject.kind} are sealed with a key that is not there any more: it was "
        "destroyed when the subject was erased, or its row was lost.",
        hint="What was erased is gone for good; else restore the table subject_keys.",
    )


async def _some_at_once(work: Callable[[Any], Awaitable[T]], values: Sequence[Any]) -> list[T]:
    """The results for all values, a few of them asked for at once."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(value: Any) -> T:
        async with gate:
            return await work(value)

    return await asyncio.gather(*map(one, values))
