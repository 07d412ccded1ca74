"""Which tables go into archives, and what becomes of a store that is loaded from one.

Both engines share this; how rows are read and loaded is each one's own.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from holdfast.backends.sql.audit import AUDIT_KEYS, AUDIT_RESTORED
from holdfast.backends.sql.changes import FLOOR, FLOOR_OF_ALL
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import RESTORED, only
from holdfast.backends.sql.spaces import EPOCH, SUBJECTS_KEY
from holdfast.errors import ConflictError, NotFoundError, StoreError
from holdfast.ports.archiving import Row, Table

ARCHIVED: Final[Mapping[str, tuple[str, ...]]] = {
    "counters": ("name",),
    "spaces": ("no",),
    "entities": ("no",),
    "messages": ("no",),
    "memories": ("no",),
    "embeddings": ("memory_no", "space_no"),
    "sources": ("memory_no", "message_no"),
    "history": ("no",),
    "jobs": ("no",),
    "usage": ("no",),
    "budgets": ("project", "kind", "subject", "period", "unit"),
    "budget_periods": ("project", "budget", "subject", "since"),
    "projects": ("id",),
    "api_keys": ("id",),
    "key_uses": ("id",),
    "accounts": ("id",),
    "members": ("project", "email"),
    "webhooks": ("id",),
    "feedback": ("project", "memory_id"),
    "exports": ("id",),
    "held": ("id",),
    "audit": ("project", "no"),
    "audit_heads": ("project",),
    "erasures": ("id",),
    "signing_keys": ("id",),
}
"""The tables of an archive and the key of each, in the order in which they are loaded."""

KEYS: Final = "subject_keys"
KEYS_KEY: Final = ("project", "kind", "id", "version")
"""Kept beside archives, not in them: what was destroyed is gone from all of them then."""

LEFT: Final[Mapping[str, str]] = {
    KEYS: "kept beside archives, so that a key that is destroyed is gone from older ones too",
    "sessions": "people sign in again; a refresh token in a copy would be a credential",
    "deliveries": "what waited to be sent would be sent a second time",
    "outbox": "made anew: an index compares itself with the records",
    "shard_maps": "tells where points are in an index that is filled anew",
}
"""The tables that are not archived, and why. A test compares both with the schema."""

NUMBERS: Final = "numbers"
"""Not a table: the last numbers that were given, whatever was deleted since."""
NUMBERED: Final = ("generation", "memories", "messages", "history")

RESTORING: Final = "restoring"
"""The counter of the archive that is being loaded; nobody opens the store while it is there."""
DONE: Final = "restored_loads"

_TAKEN: Final = (
    *("key_mark", "analysis", "sealed", EPOCH, "directory", "key_rotation", *AUDIT_KEYS),
    SUBJECTS_KEY,  # by which erasures, and their receipts, know a subject again
)
_TAKEN_PREFIXES: Final = ("sensitive:",)
"""The counters that hold for a copy as well: what the texts are, not what others made of them."""

_PUT: Final = """
INSERT INTO counters (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


_OWN: Final = ("counters", "spaces", "audit", "audit_heads")
"""What merely opening a store and looking into it leaves."""


def store_mark(connection: Connection) -> str:
    """Tells a store from others; nothing follows from it."""
    key = only(connection, "SELECT value FROM counters WHERE name = 'cursor_key'", ())
    if key is None:
        raise NotFoundError("There is nothing to archive: this store was never opened.")
    return hashlib.sha256(f"holdfast store {key}".encode()).hexdigest()[:16]


def is_taken(name: str) -> bool:
    """Whether a counter goes into archives."""
    return name in _TAKEN or name.startswith(_TAKEN_PREFIXES)


def tables_of(columns: Mapping[str, Sequence[str]]) -> list[Table]:
    """The tables of an archive, from the columns that the database has."""
    keys = {**ARCHIVED, KEYS: KEYS_KEY}
    made = [Table(name=NUMBERS, columns=("name", "value"), key=(0,))]
    for name, key in keys.items():
        known = tuple(columns[name])
        places = tuple(known.index(column) for column in key)
        made.append(Table(name=name, columns=known, key=places))
    return made


def select(table: Table) -> str:
    """The statement that reads a table in order."""
    key = ", ".join(table.columns[place] for place in table.key)
    return f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {key}"


def counters_only(table: Table, rows: Iterable[Row]) -> list[Row]:
    """Rows of a table without the counters that stay."""
    if table.name != "counters":
        return list(rows)
    return [row for row in rows if is_taken(row[table.key[0]])]


def refuse_half(connection: Connection) -> None:
    """Refuse a store that is only half restored. Raises StoreError."""
    if only(connection, "SELECT 1 FROM counters WHERE name = ?", (RESTORING,)) is not None:
        raise StoreError(
            "A restore into this store is under way, or was cut off.",
            hint="Run `holdfast backup restore` again to go on with it, or with --restart to "
            "begin anew.",
        )


def begin(connection: Connection, archive: int, *, restart: bool) -> int:
    """`Archiving.begin` in the caller's transaction."""
    under_way = only(connection, "SELECT value FROM counters WHERE name = ?", (RESTORING,))
    if under_way is None:
        _refuse_filled(connection)
    elif restart:
        for name in (*ARCHIVED, KEYS):
            connection.execute(f"DELETE FROM {name}", ())
    elif under_way == archive:
        return int(only(connection, "SELECT value FROM counters WHERE name = ?", (DONE,)))
    else:
        raise ConflictError(
            "Another archive was restored into this store, and not to the end.",
            hint="Name that one to go on with it, or begin anew with --restart.",
        )
    for name in (*_OWN, KEYS, "outbox"):
        connection.execute(f"DELETE FROM {name}", ())
    for name, value in (("generation", 0), (RESTORING, archive), (DONE, 0)):
        connection.execute(_PUT, (name, value))
    return 0


def _refuse_filled(connection: Connection) -> None:
    for name in ARCHIVED:
        if name not in _OWN and only(connection, f"SELECT 1 FROM {name} LIMIT 1", ()) is not None:
            raise ConflictError(
                f"The store is not empty: there are {name} in it. Nothing was changed.",
                hint="Restore into an empty one, or add what is missing with --merge.",
            )


def note(connection: Connection, done: int) -> None:
    """Note how many loads are done."""
    connection.execute(_PUT, (DONE, done))


def put_numbers(connection: Connection, rows: Iterable[Row]) -> None:
    """Keep the last numbers until the end."""
    for name, value in rows:
        connection.execute(_PUT, (f"restored:{name}", value))


def finish(connection: Connection) -> Mapping[str, int]:
    """What both engines do at the end: the last numbers that were given."""
    prefix = "restored:"
    found = {name: int(only(connection, _NUMBER, (prefix + name,)) or 0) + 1 for name in NUMBERED}
    for name in (*(prefix + name for name in NUMBERED), DONE, RESTORING):
        connection.execute("DELETE FROM counters WHERE name = ?", (name,))
    # another store from now on: cursors and cached answers of the one it was are nobody's
    told = {
        "cursor_key": secrets.randbits(63),
        EPOCH: int(only(connection, _NUMBER, (EPOCH,)) or 0) + 1,
        "directory": int(only(connection, _NUMBER, ("directory",)) or 0) + 1,
        FLOOR: found["generation"],
        FLOOR_OF_ALL: found["generation"],
        AUDIT_RESTORED: 1,
        RESTORED: found["history"] - 1,
    }
    for name, value in told.items():
        connection.execute(_PUT, (name, value))
    return found


_NUMBER: Final = "SELECT value FROM counters WHERE name = ?"

DESTROYED: Final = "SELECT DISTINCT project, kind, id FROM subject_keys WHERE wrapped IS NULL"


def insert(table: str, columns: Sequence[str]) -> str:
    """The statement that loads a row."""
    marks = ",".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


def checked(table: str, columns: Sequence[str], known: Mapping[str, Sequence[str]]) -> None:
    """Refuse names that are about to stand in a statement and are not the schema's. Raises
    StoreError."""
    wanted = known.get(table)
    if table not in (*ARCHIVED, KEYS) or wanted is None or not set(columns) <= set(wanted):
        raise StoreError(
            "The archive has a table or column that this store has not.",
            hint="Upgrade Holdfast, or take another archive.",
        )
