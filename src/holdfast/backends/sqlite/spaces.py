"""What a store is bound to from its first vector on: an embedding space and a content key."""

from __future__ import annotations

import sqlite3

from holdfast.errors import ConfigError, SpaceMismatchError
from holdfast.model import Space


def settle(connection: sqlite3.Connection, space: Space, key_mark: int, at: float) -> int:
    """Check that the store fits, or bind it if it is new; the number of its active space.

    Raises SpaceMismatchError or ConfigError before anything is written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        number = _check_space(connection, space, at)
        _check_key(connection, key_mark)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return number


def _check_key(connection: sqlite3.Connection, mark: int) -> None:
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


def _check_space(connection: sqlite3.Connection, space: Space, at: float) -> int:
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
        connection.execute("DELETE FROM spaces")
    cursor = connection.execute(
        "INSERT INTO spaces (provider, model, dimensions, normalised, status, created_at) "
        "VALUES (?,?,?,?,'active',?)",
        (*wanted, at),
    )
    return int(cursor.lastrowid or 0)
