"""Sealing what is there already: plain texts and vectors, and those of older keys. In small steps.

Nothing is locked for long and nothing is remembered of how far it was: what is sealed as it should
be is passed over. A text that changed meanwhile is left to whoever changed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.keys import SubjectKeys
from holdfast.backends.sql.rows import only
from holdfast.backends.sql.sealed_metadata import open_metadata, seal_metadata, sealed_keys
from holdfast.backends.sql.sealing import (
    CURRENT,
    NOBODY,
    SCOPE_COLUMNS,
    SEALED_FIELDS,
    Ids,
    KeyNeeded,
    Need,
    Sealer,
    Subject,
    Text,
    job_ids,
    names_subject,
    row_id,
    subject_of,
)
from holdfast.backends.sql.unlocking import OWN, WHOLE, demand, set_state, state_of
from holdfast.backends.sql.vectors import FIELD, TABLE, bound_row
from holdfast.core.seal import NUMBER_BYTES, PREFIX, Place, is_sealed, version_of
from holdfast.directory import Row
from holdfast.errors import ConflictError
from holdfast.model import OnProgress, unheard
from holdfast.ports.sealing import Resealed, SealStatus

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_ROWS: Final = 500
_KEYS: Final = 200
_PASSES_MAX: Final = 10

_IDS: Final = "user_id, agent_id, app_id, run_id"
_ROTATION: Final = "key_rotation"
"""The counter of the time, in microseconds, from which on data keys are new ones; not there unless
a rotation is under way."""


class Texts(NamedTuple):
    """Where some texts stand: a statement, and how its rows are told apart."""

    table: str
    fields: tuple[str, ...]
    key: tuple[str, ...]
    """Columns that tell the rows apart, by which they are walked."""
    told: str
    """Columns from which `subject` makes the row's id and whose it is."""
    subject: Callable[[tuple[Any, ...]], tuple[str, str, Ids]]
    """From the columns told: project, id of the row, identities."""
    source: str = ""
    """What is selected from, if it is more than the table."""


def _of_entity(told: tuple[Any, ...]) -> tuple[str, str, Ids]:
    return told[0], told[1], told[2:]


def _of_job(told: tuple[Any, ...]) -> tuple[str, str, Ids]:
    return told[0], told[1], job_ids(told[2])


def _of_source(told: tuple[Any, ...]) -> tuple[str, str, Ids]:
    return told[0], f"{told[1]} {told[2]}", told[3:]


def _of_vector(told: tuple[Any, ...]) -> tuple[str, str, Ids]:
    return told[0], bound_row(told[1], told[2]), told[3:]


def _of_directory(kind: type[Row], told: tuple[Any, ...]) -> tuple[str, str, Ids]:
    width = 1 + len(kind.key)
    ids = told[width:] if names_subject(kind) else NOBODY
    return told[0], row_id(kind, dict(zip(kind.key, told[1:width], strict=True))), ids


_SOURCES: Final = (
    "sources x JOIN memories m ON m.no = x.memory_no JOIN messages t ON t.no = x.message_no"
)
ALL: Final = (
    Texts("messages", ("text",), ("no",), f"project, id, {_IDS}", _of_entity),
    Texts("memories", ("text",), ("no",), f"project, id, {_IDS}", _of_entity),
    Texts("history", ("old_memory", "new_memory"), ("no",), f"project, id, {_IDS}", _of_entity),
    Texts("jobs", ("payload", "result"), ("no",), "project, id, scope_key", _of_job),
    Texts(
        "sources",
        ("quote",),
        ("memory_no", "message_no"),
        "m.project, m.id, t.id, m.user_id, m.agent_id, m.app_id, m.run_id",
        _of_source,
        _SOURCES,
    ),
    *(
        Texts(
            kind.table,
            fields,
            kind.key,
            ", ".join(("project", *kind.key, *(SCOPE_COLUMNS if names_subject(kind) else ()))),
            partial(_of_directory, kind),
        )
        for kind, fields in SEALED_FIELDS.items()
    ),
)
"""Every column that is sealed."""

VECTORS: Final = Texts(
    TABLE,
    (FIELD,),
    ("memory_no", "space_no"),
    "m.project, m.id, x.space_no, m.user_id, m.agent_id, m.app_id, m.run_id",
    _of_vector,
    f"{TABLE} x JOIN memories m ON m.no = x.memory_no",
)
"""Vectors, in all spaces."""

_METADATA: Final = Texts("memories", ("metadata",), ("no",), f"project, id, {_IDS}", _of_entity)


class Batch(NamedTuple):
    """What became of some rows."""

    after: tuple[Any, ...] | None
    """The key of the last of them; None if there were none."""
    rows: int
    sealed: int
    missed: int
    """Texts that changed meanwhile."""


class SqlSeals:
    """`ports.sealing.Seals` on the record database."""

    def __init__(self, records: SqlRecords, keys: SubjectKeys) -> None:
        self._records = records
        self._keys = keys

    async def status(self) -> SealStatus:
        primary = self._keys.ring.primary
        return await self._records.read(None, lambda c: _status(c, primary))

    async def run(self, told: OnProgress) -> Resealed:
        total = await self._records.read(None, _count)
        sealed: Counter[str] = Counter()
        for again in range(_PASSES_MAX):
            missed = await self._pass(unheard if again else told, total, sealed)
            if not missed and await self._records.write(None, _finish, alone=True):
                demand(self._keys.sealer, WHOLE)
                await self._records.scrub()
                vectors = sealed.pop(TABLE, 0)
                return Resealed(texts=sealed.total(), vectors=vectors)
        raise ConflictError(
            "Texts are still written in the clear by a process that was started earlier.",
            hint="Start every process of this store again, then run it again.",
        )

    async def _pass(self, told: OnProgress, total: int, sealed: Counter[str]) -> int:
        """Go through everything; counts what was sealed, by table. How much changed meanwhile."""
        done = missed = 0
        for texts in (*ALL, VECTORS):
            after: tuple[Any, ...] | None = ()
            while after is not None:
                work = partial(reseal_some, texts=texts, after=after)
                batch = await self._records.write(None, work)
                after, done, missed = batch.after, done + batch.rows, missed + batch.missed
                sealed[texts.table] += batch.sealed
                told(min(done, total), total)
        after = ()
        while after is not None:
            batch = await self._records.write(None, partial(reseal_metadata, after=after))
            after, missed = batch.after, missed + batch.missed
            sealed[_METADATA.table] += batch.sealed
        return missed

    async def rotate_master(self, told: OnProgress) -> Resealed:
        ring, primary = self._keys.ring, self._keys.ring.primary
        total = await self._records.read(None, lambda c: _old(c, primary))
        done = 0
        while rows := await self._records.read(None, lambda c: _some_old(c, primary)):
            changed = []
            for project, kind, id_, version, name, wrapped in rows:
                bound = Subject(project, kind, id_).bound(version)
                key = await ring.unwrap(name, wrapped, bound)
                new = await ring.wrap(key, bound)
                changed.append((primary, new, project, kind, id_, version, name))
            work = partial(_rewrap, rows=changed)
            await self._records.write(None, work)
            done += len(rows)
            told(min(done, total), total)
        return Resealed(keys=done)

    async def rotate_keys(self, told: OnProgress) -> Resealed:
        now_us = int(self._records.now() * 1_000_000)
        since_us = await self._records.write(None, lambda c: _begun(c, now_us))
        keys = 0
        while subjects := await self._records.read(None, lambda c: _stale(c, since_us / 1e6)):
            await self._keys.renew(subjects)
            keys += len(subjects)
        resealed = await self.run(told)
        await self._records.write(None, _ended)
        return Resealed(keys=keys, texts=resealed.texts, vectors=resealed.vectors)


def reseal_some(connection: Connection, texts: Texts, after: tuple[Any, ...]) -> Batch:
    """Seal what stands in the next rows as it should be. Raises KeyNeeded, CorruptError."""
    sealer = connection.sealer
    assert sealer is not None, "only a store with a keyring reseals"
    rows = _rows(connection, texts, after)
    width = len(texts.key)
    fields = len(texts.fields)
    found = []
    for row in rows:
        project, id_, ids = texts.subject(row[width : len(row) - fields])
        subject = subject_of(project, ids)
        for field, stored in zip(texts.fields, row[len(row) - fields :], strict=True):
            if stored:
                place = Place(project, texts.table, id_, field)
                found.append((row[:width], subject, place, stored))
    _refuse_missing(sealer, [(subject, stored) for _, subject, _, stored in found])
    sealed = missed = 0
    for key, subject, place, stored in found:
        if is_sealed(stored) and version_of(stored) == sealer.keys_of(subject).current:
            continue
        new = sealer.seal(subject, place, sealer.open(subject, place, stored))
        changed = _put(connection, texts, place.field, key, (stored, new))
        sealed, missed = sealed + changed, missed + 1 - changed
    last = tuple(rows[-1][:width]) if rows else None
    return Batch(last, len(rows), sealed, missed)


def reseal_metadata(connection: Connection, after: tuple[Any, ...]) -> Batch:
    """`reseal_some` for the sensitive values of metadata."""
    sealer = connection.sealer
    assert sealer is not None, "only a store with a keyring reseals"
    rows = _rows(connection, _METADATA, after) if sealer.sensitive else []
    found = []
    for row in rows:
        metadata = {} if row[-1] is None else msgspec.json.decode(row[-1])
        keys = sealed_keys(sealer, metadata)
        if keys:
            project, id_, ids = _of_entity(row[1:-1])
            subject = subject_of(project, ids)
            found.append((row, metadata, keys, subject, Text(id_, ids, None)))
    _refuse_missing(sealer, [(one[3], stored or "") for one in found for stored in one[2].values()])
    sealed = missed = 0
    for row, metadata, keys, subject, whose in found:
        current = sealer.keys_of(subject).current
        if all(stored and version_of(stored) == current for stored in keys.values()):
            continue
        open_metadata(connection, row[1], [whose], [metadata])
        new = msgspec.json.encode(seal_metadata(connection, row[1], whose, metadata)).decode()
        changed = _put(connection, _METADATA, "metadata", row[:1], (row[-1], new))
        sealed, missed = sealed + changed, missed + 1 - changed
    return Batch(tuple(rows[-1][:1]) if rows else None, len(rows), sealed, missed)


def _rows(connection: Connection, texts: Texts, after: tuple[Any, ...]) -> list[Any]:
    mine = "x." if texts.source else ""
    key = ", ".join(f"{mine}{name}" for name in texts.key)
    fields = ", ".join(f"{mine}{name}" for name in texts.fields)
    beyond = f"WHERE ({key}) > ({', '.join('?' * len(after))})" if after else ""
    sql = (
        f"SELECT {key}, {texts.told}, {fields} FROM {texts.source or texts.table} {beyond} "
        f"ORDER BY {key} LIMIT {_ROWS}"
    )
    return connection.execute(sql, after).fetchall()


def _refuse_missing(sealer: Sealer, found: Sequence[tuple[Subject, str | bytes]]) -> None:
    """Ask for all the keys that are missing at once."""
    needs = {need for subject, stored in found if (need := sealer.need(subject, stored))}
    current = {Need(subject, CURRENT) for subject, _ in found}
    needs |= {need for need in current if not sealer.has(need)}
    if needs:
        raise KeyNeeded(needs)


def _put(
    connection: Connection,
    texts: Texts,
    field: str,
    key: Sequence[Any],
    change: tuple[Any, Any],
) -> int:
    """Put what is sealed now in the place of the one that was read, if it is there still."""
    old, new = change
    mine = " AND ".join(f"{name} = ?" for name in texts.key)
    sql = f"UPDATE {texts.table} SET {field} = ? WHERE {mine} AND {field} = ?"
    return connection.execute(sql, (new, *key, old)).rowcount


def _plain(connection: Connection) -> int:
    """How many texts are stored in the clear."""
    return sum(
        only(
            connection,
            f"SELECT count(*) FROM {texts.table} WHERE {field} <> '' "
            f"AND substr({field}, 1, {len(PREFIX)}) <> '{PREFIX}'",
            (),
        )
        for texts in ALL
        for field in texts.fields
    )


def _plain_vectors(connection: Connection) -> int:
    """How many vectors are: sealed ones have another length than numbers have."""
    sql = f"SELECT count(*) FROM {TABLE} WHERE length({FIELD}) % {NUMBER_BYTES} = 0"
    return int(only(connection, sql, ()))


def _count(connection: Connection) -> int:
    tables = [texts.table for texts in (*ALL, VECTORS)]
    return sum(only(connection, f"SELECT count(*) FROM {table}", ()) for table in tables)


def _finish(connection: Connection) -> bool:
    """From now on everything is sealed; False if there are plain texts or vectors still."""
    if _plain(connection) or _plain_vectors(connection):
        return False
    set_state(connection, WHOLE)
    return True


def _status(connection: Connection, primary: str) -> SealStatus:
    here = "SELECT count(*) FROM subject_keys WHERE wrapped IS"
    return SealStatus(
        whole=state_of(connection) == WHOLE,
        plain=_plain(connection),
        plain_vectors=_plain_vectors(connection),
        master=primary,
        keys=only(connection, f"{here} NOT NULL", ()),
        old_master=_old(connection, primary),
        destroyed=only(connection, f"{here} NULL", ()),
    )


# ------------------------------------------------------------------ rotation

_OLD: Final = "FROM subject_keys WHERE wrapped IS NOT NULL AND key_id <> ?"


def _old(connection: Connection, primary: str) -> int:
    return int(only(connection, f"SELECT count(*) {_OLD}", (primary,)))


def _some_old(connection: Connection, primary: str) -> list[Any]:
    columns = "project, kind, id, version, key_id, wrapped"
    return connection.execute(f"SELECT {columns} {_OLD} LIMIT {_KEYS}", (primary,)).fetchall()


def _rewrap(connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
    # one that was destroyed meanwhile stays so
    connection.executemany(
        "UPDATE subject_keys SET key_id = ?, wrapped = ? WHERE project = ? AND kind = ? "
        "AND id = ? AND version = ? AND key_id = ? AND wrapped IS NOT NULL",
        rows,
    )


def _begun(connection: Connection, now_us: int) -> int:
    """When the rotation under way began; it begins now if there is none."""
    connection.execute(
        "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (_ROTATION, now_us),
    )
    return int(only(connection, "SELECT value FROM counters WHERE name = ?", (_ROTATION,)))


def _ended(connection: Connection) -> None:
    connection.execute("DELETE FROM counters WHERE name = ?", (_ROTATION,))


def _stale(connection: Connection, since: float) -> list[Subject]:
    """Some subjects whose newest key is older than this, and not destroyed."""
    rows = connection.execute(
        "SELECT k.project, k.kind, k.id FROM subject_keys k WHERE k.created_at < ? "
        "AND k.wrapped IS NOT NULL AND k.kind <> ? AND NOT EXISTS (SELECT 1 FROM subject_keys n "
        "WHERE n.project = k.project AND n.kind = k.kind AND n.id = k.id "
        f"AND n.version > k.version) LIMIT {_KEYS}",
        (since, OWN.kind),
    ).fetchall()
    return [Subject(*row) for row in rows]
