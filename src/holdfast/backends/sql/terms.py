"""Index terms are derived: when the analysis of texts changes, the texts are analysed anew."""

from __future__ import annotations

from holdfast.backends.sql.changes import forget_all
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.rows import memory_texts
from holdfast.ports import Analyse

_CHUNK_ROWS = 1_000

_SET_VERSION = """
INSERT INTO counters (name, value) VALUES ('analysis', ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


def is_current(connection: Connection, version: int) -> bool:
    """Whether the stored terms were made by this version of the analysis."""
    row = connection.execute("SELECT value FROM counters WHERE name = 'analysis'").fetchone()
    return row is not None and row[0] == version


def renew_some(connection: Connection, analyse: Analyse, after: int) -> tuple[int, int]:
    """Make the terms of the next memories anew; how many, and the number of the last of them."""
    rows = connection.execute(
        "SELECT no, text, actor_id, role, id, project, user_id, agent_id, app_id, run_id "
        "FROM memories WHERE no > ? ORDER BY no LIMIT ?",
        (after, _CHUNK_ROWS),
    ).fetchall()
    whose = [(project, id_, text, *ids) for _, text, _, _, id_, project, *ids in rows]
    changed = []
    for row, text in zip(rows, memory_texts(connection, whose), strict=True):
        no, _, actor_id, role = row[:4]
        found = analyse(text, actor_id, role)
        changed.append((found.terms, found.flags, found.words, found.speaker, no))
    connection.executemany(
        "UPDATE memories SET terms = ?, flags = ?, words = ?, speaker = ? WHERE no = ?", changed
    )
    return len(rows), rows[-1][0] if rows else after


def finish(connection: Connection, version: int) -> None:
    """Record that all terms are of this version, and have every working set loaded anew."""
    connection.execute(_SET_VERSION, (version,))
    forget_all(connection)
