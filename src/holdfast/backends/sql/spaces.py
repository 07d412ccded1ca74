"""What a store is bound to from its first vector on: an embedding space and a content key."""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

from holdfast.backends.sql.changes import FLOOR
from holdfast.backends.sql.dialect import Connection, Cursor
from holdfast.errors import ConfigError, SpaceMismatchError
from holdfast.model import Space

SpaceRow = tuple[str, str, int, int]
"""provider, model, dimensions and normalised of a space."""

SPACE_COLUMNS: Final = "provider, model, dimensions, normalised"
EPOCH: Final = "space_epoch"
"""The counter of the times that another space became active, or the shadow."""

SUBJECTS_KEY: Final = "subjects_key"
"""The counter that keys the marks of subjects."""

ACTIVE_SPACE: Final = "(SELECT no FROM spaces WHERE status = 'active')"
EPOCH_NUMBER: Final = "coalesce((SELECT value FROM counters WHERE name = 'space_epoch'), 0)"


class Binding(NamedTuple):
    """The space (by number) and the content key (by its mark) a process opened the store with."""

    space_no: int
    key_mark: int
    cursor_key: bytes = b""
    """Masks the cursors of listings; the store's own."""
    known: tuple[SpaceRow, ...] = ()
    """The spaces this process has embedders of."""
    is_sealed: bool = False
    subjects_key: bytes = b""
    """Keys the marks of subjects; a store that is restored from a backup keeps it."""


class Current(NamedTuple):
    """Where vectors go, as a transaction sees it."""

    space_no: int
    shadow_no: int | None
    epoch: int
    dimensions: int
    forgotten: int
    """The last generation of which it is not known what it changed."""
    destroyed: int = 0
    """How often data keys were destroyed."""
    erasing: bool = False
    """Whether a subject of the project is being erased; on SQLite, of any project."""


_CURRENT = f"""
SELECT s.no, (SELECT max(no) FROM spaces WHERE status = 'shadow'), {EPOCH_NUMBER}, s.dimensions,
       coalesce((SELECT value FROM counters WHERE name = '{FLOOR}'), 0),
       s.provider, s.model, s.dimensions, s.normalised, k.value,
       EXISTS (SELECT 1 FROM counters WHERE name = 'sealed'),
       coalesce((SELECT value FROM counters WHERE name = 'keys_destroyed'), 0),
       EXISTS (SELECT 1 FROM erasures WHERE state = 'RUNNING')
FROM spaces s, counters k WHERE s.status = 'active' AND k.name = 'key_mark'
"""


def row_of(space: Space) -> SpaceRow:
    """A space as the columns of its row."""
    return space.provider, space.model, space.dimensions, int(space.normalised)


def settle(
    connection: Connection,
    space: Space,
    key_mark: int,
    at: float,
    before: Space | None = None,
    *,
    is_sealed: bool = False,
) -> Binding:
    """Check that the store fits, or bind it if it is new, while nobody else writes.

    Raises SpaceMismatchError or ConfigError; the caller's transaction must end with nothing then.
    """
    known = (row_of(space),) if before is None else (row_of(space), row_of(before))
    number = _check_space(connection, known, at)
    _check_key(connection, key_mark)
    cursor_key = _cursor_key(connection)
    return Binding(number, key_mark, cursor_key, known, is_sealed, _subjects_key(connection))


def confirm(connection: Connection, binding: Binding) -> Current:
    """Where vectors go now; refuses to write what does not fit, should an empty store have been
    bound anew meanwhile, or its space have been switched to one that is not known here.

    Raises SpaceMismatchError or ConfigError.
    """
    found = connection.execute(_CURRENT).fetchone()
    hint = "Stop that process or configure both alike, then open the store again."
    if found is None or tuple(found[5:9]) not in binding.known:
        raise SpaceMismatchError("Another process bound this store to another embedder.", hint=hint)
    if bool(found[10]) != binding.is_sealed:
        raise ConfigError("Another process began to seal this store meanwhile.", hint=hint)
    if found[9] != binding.key_mark:
        raise ConfigError("Another process bound this store to another `content_key`.", hint=hint)
    return Current(*found[:5], *found[11:13])


def current(connection: Connection) -> Current:
    """Where vectors are, as this transaction sees it."""
    return current_from(ask_current(connection))


def ask_current(connection: Connection) -> Cursor:
    """Ask where vectors are; `current_from` looks at the answer."""
    return connection.execute(_CURRENT)


def current_from(answer: Cursor) -> Current:
    """What the answer to `ask_current` says."""
    return Current(*answer.fetchone()[:5])


def next_epoch(connection: Connection) -> None:
    """Tell every process that the spaces have changed."""
    connection.execute(
        "INSERT INTO counters (name, value) VALUES (?, 1) "
        "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
        (EPOCH,),
    )


def _check_key(connection: Connection, mark: int) -> None:
    """Hashes of different keys never meet, so duplicates and keywords would silently be missed."""
    row = connection.execute("SELECT value FROM counters WHERE name = 'key_mark'").fetchone()
    if row is None:
        connection.execute("INSERT INTO counters (name, value) VALUES ('key_mark', ?)", (mark,))
    elif row[0] != mark:
        if connection.execute("SELECT 1 FROM memories LIMIT 1").fetchone() is not None:
            raise ConfigError(
                "This store was made with another `content_key` (or with none).",
                hint="Configure that one, or use another path; nothing was changed.",
            )
        connection.execute("UPDATE counters SET value = ? WHERE name = 'key_mark'", (mark,))


def _cursor_key(connection: Connection) -> bytes:
    """Chosen by chance when the store is first opened, the same for every process from then on."""
    connection.execute(
        "INSERT INTO counters (name, value) VALUES ('cursor_key', ?) ON CONFLICT DO NOTHING",
        (secrets.randbits(63),),
    )
    row = connection.execute("SELECT value FROM counters WHERE name = 'cursor_key'").fetchone()
    return int(row[0]).to_bytes(8, "big")


def _subjects_key(connection: Connection) -> bytes:
    """That of the store this one was restored from, or its own from its first opening on."""
    connection.execute(
        f"INSERT INTO counters (name, value) SELECT '{SUBJECTS_KEY}', value FROM counters "
        "WHERE name = 'cursor_key' ON CONFLICT DO NOTHING"
    )
    sql = f"SELECT value FROM counters WHERE name = '{SUBJECTS_KEY}'"
    return int(connection.execute(sql).fetchone()[0]).to_bytes(8, "big")


def _check_space(connection: Connection, known: tuple[SpaceRow, ...], at: float) -> int:
    row = connection.execute(
        f"SELECT no, {SPACE_COLUMNS} FROM spaces WHERE status = 'active'"
    ).fetchone()
    wanted = known[0]
    if row is not None and tuple(row[1:]) in known:
        return int(row[0])
    if row is not None:
        if connection.execute("SELECT 1 FROM embeddings LIMIT 1").fetchone() is not None:
            raise SpaceMismatchError(
                f"This store holds vectors of {row[1]}:{row[2]} with {row[3]} dimensions, "
                f"but the embedder is {wanted[0]}:{wanted[1]} with {wanted[2]}.",
                hint="Configure the embedder the store was made with, as `embedder`, or as "
                "`embedder_before` to change it; or use another path.",
            )
        # kept, so that its number never means another space to a process that is still running
        connection.execute("UPDATE spaces SET status = 'retired' WHERE no = ?", (row[0],))
        next_epoch(connection)
    return put_space(connection, wanted, "active", at)


def put_space(connection: Connection, space: SpaceRow, status: str, at: float) -> int:
    """The number of the space, which has this status from now on."""
    [number] = connection.execute(
        f"INSERT INTO spaces ({SPACE_COLUMNS}, status, created_at) "
        "VALUES (?,?,?,?,?,?) ON CONFLICT (provider, model, dimensions, normalised) "
        "DO UPDATE SET status = excluded.status RETURNING no",
        (*space, status, at),
    ).fetchone()
    return int(number)
