"""What a store is bound to from its first vector on: an embedding space and a content key."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from holdfast.backends.sql.dialect import Connection
from holdfast.errors import ConfigError, SpaceMismatchError
from holdfast.model import Space


class Binding(NamedTuple):
    """The space (by number) and the content key (by its mark) a process writes with."""

    space_no: int
    key_mark: int
    cursor_key: bytes = b""
    """Masks the cursors of listings; the store's own."""


_BINDING = """
SELECT s.no, k.value FROM spaces s, counters k WHERE s.status = 'active' AND k.name = 'key_mark'
"""


def settle(connection: Connection, space: Space, key_mark: int, at: float) -> Binding:
    """Check that the store fits, or bind it if it is new, while nobody else writes.

    Raises SpaceMismatchError or ConfigError; the caller's transaction must end with nothing then.
    """
    number = _check_space(connection, space, at)
    _check_key(connection, key_mark)
    return Binding(number, key_mark, _cursor_key(connection))


def confirm(connection: Connection, binding: Binding) -> None:
    """Refuse to write what does not fit, should an empty store have been bound anew meanwhile.

    Raises SpaceMismatchError or ConfigError.
    """
    found = connection.execute(_BINDING).fetchone()
    if found == binding[:2]:
        return
    hint = "Stop that process or configure both alike, then open the store again."
    if found is not None and found[0] == binding.space_no:
        raise ConfigError("Another process bound this store to another `content_key`.", hint=hint)
    raise SpaceMismatchError("Another process bound this store to another embedder.", hint=hint)


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


def _check_space(connection: Connection, space: Space, at: float) -> int:
    row = connection.execute(
        "SELECT no, provider, model, dimensions, normalised FROM spaces WHERE status = 'active'"
    ).fetchone()
    wanted = (space.provider, space.model, space.dimensions, int(space.normalised))
    if row is not None and row[1:] == wanted:
        return int(row[0])
    if row is not None:
        if connection.execute("SELECT 1 FROM embeddings LIMIT 1").fetchone() is not None:
            raise SpaceMismatchError(
                f"This store holds vectors of {row[1]}:{row[2]} with {row[3]} dimensions, "
                f"but the embedder is {wanted[0]}:{wanted[1]} with {wanted[2]}.",
                hint="Configure the embedder the store was made with, or use another path.",
            )
        # kept, so that its number never means another space to a process that is still running
        connection.execute("UPDATE spaces SET status = 'retired' WHERE no = ?", (row[0],))
    return _activate(connection, wanted, at)


def _activate(connection: Connection, space: tuple[str, str, int, int], at: float) -> int:
    """The number of the space, from now on the active one."""
    [number] = connection.execute(
        "INSERT INTO spaces (provider, model, dimensions, normalised, status, created_at) "
        "VALUES (?,?,?,?,'active',?) ON CONFLICT (provider, model, dimensions, normalised) "
        "DO UPDATE SET status = 'active' RETURNING no",
        (*space, at),
    ).fetchone()
    return int(number)
