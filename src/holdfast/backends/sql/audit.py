"""The audit's chain in the record database, appended in the transactions that it tells of."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import astuple, replace

from holdfast.backends.sql.conditions import condition_of
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import insert_all
from holdfast.backends.sql.unlocking import derived
from holdfast.core.audit import counted, linked, masked, restored_row, signed
from holdfast.directory import Where
from holdfast.model import Project
from holdfast.ports.audit import Chain
from holdfast.trail import AuditRow, Head

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_COLUMNS: Final = AuditRow.__struct_fields__
_NAMES: Final = ", ".join(_COLUMNS)
_INSERT: Final = f"INSERT INTO audit ({_NAMES}) VALUES ({','.join('?' * len(_COLUMNS))})"

_HEAD: Final = ", ".join(f"h.{name}" for name in Head.__struct_fields__)

# A secret of the store, of 126 bits in two whole numbers.
AUDIT_KEYS: Final = ("audit_key_high", "audit_key_low")
AUDIT_RESTORED: Final = "audit_restored"
"""The counter that tells that the store was restored, until its chains tell it."""
_KEYS: Final = """
(SELECT value FROM counters WHERE name = 'audit_key_high'),
(SELECT value FROM counters WHERE name = 'audit_key_low')
"""

_PUT_HEAD: Final = f"""
INSERT INTO audit_heads ({", ".join(Head.__struct_fields__)}) VALUES (?,?,?,?,?,?,?)
ON CONFLICT (project) DO UPDATE SET no = excluded.no, hash = excluded.hash,
  base_no = excluded.base_no, base_hash = excluded.base_hash, keyed = excluded.keyed,
  mac = excluded.mac
"""
_BEGIN: Final = """
INSERT INTO audit_heads (project, no, hash, base_no, base_hash, keyed, mac)
VALUES (?, 0, '', 0, '', '', '') ON CONFLICT DO NOTHING
"""

# One statement, and so one moment, however many rows are appended meanwhile.
_CHAINS: Final = f"""
SELECT {_HEAD}, coalesce((SELECT max(no) FROM audit a WHERE a.project = h.project), 0)
FROM audit_heads h WHERE {{some}}
UNION ALL
SELECT a.project, 0, '', 0, '', '', '', max(a.no) FROM audit a
WHERE NOT EXISTS (SELECT 1 FROM audit_heads h WHERE h.project = a.project) AND {{others}}
GROUP BY a.project
ORDER BY 1
"""


class SqlTrail:
    """`ports.audit.Trail` in the same database as the records."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records

    async def chains(self, project: Project | None = None) -> Sequence[Chain]:
        one = project is not None
        sql = _CHAINS.format(
            some="h.project = ?" if one else "TRUE", others="a.project = ?" if one else "TRUE"
        )
        parameters = (project, project) if one else ()
        rows = await self._records.read(
            project, lambda c: c.execute(sql, parameters).fetchall(), brief=True
        )
        return [Chain(Head(**_named(Head, row)), row[-1]) for row in rows]

    async def rows(
        self,
        project: Project,
        *where: Where,
        after: int = 0,
        upto: int | None = None,
        newest_first: bool = False,
        size: int,
    ) -> Sequence[AuditRow]:
        bounds = [Where("project", project), Where("no", after, "gt")]
        if upto is not None:
            bounds.append(Where("no", upto, "lte"))
        condition, parameters = condition_of(AuditRow, [*bounds, *where])
        order = "DESC" if newest_first else "ASC"
        sql = f"SELECT {_NAMES} FROM audit WHERE {condition} ORDER BY no {order} LIMIT ?"

        def work(connection: Connection) -> list[AuditRow]:
            found = connection.execute(sql, (*parameters, size)).fetchall()
            # as they are: who meddled with one may have put anything there
            return [AuditRow(**_named(AuditRow, row)) for row in found]

        return await self._records.read(project, work, brief=True)

    async def keys(self) -> Mapping[str, bytes]:
        return await self._records.write(None, _keys)

    async def prune(self, project: Project, upto: int, limit: int) -> int:
        return await self._records.write(None, lambda c: _prune(c, project, upto, limit))


def append(connection: Connection, rows: Iterable[AuditRow], changed: int | None = None) -> None:
    """Put rows behind the ends of their projects' chains, in the caller's transaction.

    `changed`: the count of those that have none.
    """
    rows = counted(rows, changed)
    rows.sort(key=attrgetter("project"))  # heads are locked in one order
    for project, some in groupby(rows, key=attrgetter("project")):
        head, keyed, key, own = _locked(connection, project)
        done, head = linked(key, keyed, head, masked(own, some))
        insert_all(connection, _INSERT, [astuple(row) for row in done])
        _put(connection, head)


def _locked(connection: Connection, project: str) -> tuple[Head, str, bytes, bytes]:
    """The end of a chain, nobody else's to change until the transaction ends, its key, and the
    store's own."""
    lock = connection.dialect.lock_head
    sql = f"SELECT {_HEAD}, {_KEYS} FROM audit_heads h WHERE h.project = ?{lock}"
    row = connection.execute(sql, (project,)).fetchone()
    if row is None or row[-1] is None:
        connection.execute(_BEGIN, (project,))
        _make_key(connection)
        row = connection.execute(sql, (project,)).fetchone()
    own = _joined(*row[-2:])
    keyed, key = "store", own
    if connection.sealer is not None:
        keyed, key = "sealed", derived(connection.sealer, b"holdfast audit")
    return Head(**_named(Head, row)), keyed, key, own


def _put(connection: Connection, head: Head) -> None:
    connection.execute(_PUT_HEAD, astuple(head))


def _named(kind: type[AuditRow | Head], row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(kind.__struct_fields__, row, strict=False))


def _make_key(connection: Connection) -> None:
    for name in AUDIT_KEYS:
        connection.execute(
            "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (name, secrets.randbits(63)),
        )


def _joined(high: int, low: int) -> bytes:
    return high.to_bytes(8, "big") + low.to_bytes(8, "big")


def _keys(connection: Connection) -> dict[str, bytes]:
    _make_key(connection)
    found = {"store": _joined(*connection.execute(f"SELECT {_KEYS}", ()).fetchone())}
    if connection.sealer is not None:
        found["sealed"] = derived(connection.sealer, b"holdfast audit")
    return found


def _prune(connection: Connection, project: Project, upto: int, limit: int) -> int:
    head, keyed, key, _ = _locked(connection, project)
    last = min(upto, head.no - 1, head.base_no + limit)
    if last <= head.base_no:
        return 0
    row = connection.execute(
        "SELECT hash FROM audit WHERE project = ? AND no = ?", (project, last)
    ).fetchone()
    if row is None:  # somebody removed it: that must not be lost sight of
        return 0
    connection.execute("DELETE FROM audit WHERE project = ? AND no <= ?", (project, last))
    _put(connection, signed(key, keyed, replace(head, base_no=last, base_hash=row[0])))
    return last - head.base_no


def keyed_anew(connection: Connection) -> None:
    """Key the ends of chains with the keyring's key, where a store begins to be sealed."""
    for (project,) in connection.execute("SELECT project FROM audit_heads", ()).fetchall():
        head, keyed, key, _ = _locked(connection, project)
        _put(connection, signed(key, keyed, head))


def restored(connection: Connection, at: float) -> None:
    """Say in every chain that the store was restored, where it was and nobody opened it since."""
    if connection.execute(
        "DELETE FROM counters WHERE name = ? RETURNING value", (AUDIT_RESTORED,)
    ).fetchone():
        projects = connection.execute("SELECT project FROM audit_heads", ()).fetchall()
        append(connection, [restored_row(project, at) for (project,) in projects])
