"""A store seen with plain SQL: its contents, and everything that must never be true of it."""

from __future__ import annotations

import sqlite3
from functools import lru_cache

import msgspec

from holdfast.core.text import analyze
from support.embedded import DIMENSIONS, HashEmbedder
from tests.crash.book import Held, Kept

_FAULTS = {
    "a memory without a vector": "SELECT m.id FROM memories m LEFT JOIN embeddings e "
    f"ON e.memory_no = m.no WHERE e.vector IS NULL OR length(e.vector) != {4 * DIMENSIONS}",
    "a vector without a memory": "SELECT memory_no FROM embeddings "
    "WHERE memory_no NOT IN (SELECT no FROM memories)",
    "a memory without a source": "SELECT id FROM memories "
    "WHERE no NOT IN (SELECT memory_no FROM sources)",
    "a source without its memory": "SELECT memory_no FROM sources "
    "WHERE memory_no NOT IN (SELECT no FROM memories)",
    "a source without its turn": "SELECT message_no FROM sources "
    "WHERE message_no NOT IN (SELECT no FROM messages)",
    "a turn without a memory": "SELECT id FROM messages "
    "WHERE no NOT IN (SELECT message_no FROM sources)",
    "a turn that was not edited but reads differently": "SELECT m.id FROM memories m "
    "JOIN sources s ON s.memory_no = m.no JOIN messages t ON t.no = s.message_no "
    "WHERE m.version = 1 AND m.text != t.text",
    "a wrong count of memories": "SELECT n.id FROM entities n WHERE n.memories != "
    "(SELECT count(*) FROM memories m WHERE m.project = n.project AND m.user_id = n.id)",
    "a user without an entity": "SELECT user_id FROM memories "
    "WHERE user_id NOT IN (SELECT id FROM entities WHERE kind = 'user')",
    "a generation that the change log does not have": "SELECT n.id FROM entities n WHERE "
    "n.generation IS NOT (SELECT max(o.generation) FROM outbox o WHERE o.entity_no = n.no)",
    "a counter that is not the last generation": "SELECT value FROM counters "
    "WHERE name = 'generation' AND value != (SELECT coalesce(max(generation), 0) FROM outbox)",
    "a memory that the change log does not have": "SELECT id FROM memories "
    "WHERE no NOT IN (SELECT memory_no FROM outbox)",
    "a memory that was not added exactly once": "SELECT id FROM memories m WHERE 1 != "
    "(SELECT count(*) FROM history h WHERE h.memory_id = m.id AND h.event = 'ADD')",
    "a version without its history": "SELECT id FROM memories m WHERE m.version != 1 + "
    "(SELECT count(*) FROM history h WHERE h.memory_id = m.id AND h.event = 'UPDATE')",
    "a deleted memory that is still there": "SELECT id FROM memories m WHERE EXISTS "
    "(SELECT 1 FROM history h WHERE h.memory_id = m.id AND h.event = 'DELETE')",
    "a memory gone without a deletion": "SELECT DISTINCT memory_id FROM history h "
    "WHERE memory_id NOT IN (SELECT id FROM memories) AND 1 != (SELECT count(*) "
    "FROM history d WHERE d.memory_id = h.memory_id AND d.event = 'DELETE')",
    "an unfinished job": "SELECT id FROM jobs WHERE state != 'SUCCEEDED'",
}
"""What must not be, and the query that finds it."""


Shape = dict[str, list[tuple[object, ...]]]


def faults(connection: sqlite3.Connection) -> list[str]:
    """Everything that is wrong inside the store; empty if all is well."""
    [verdict] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        return [f"integrity_check: {verdict}"]
    found = []
    for name, query in _FAULTS.items():
        if (row := connection.execute(query).fetchone()) is not None:
            found.append(f"{name}: {row[0]}")
    rows = connection.execute(
        "SELECT m.id, m.text, m.role, m.terms, e.vector FROM memories m "
        "JOIN embeddings e ON e.memory_no = m.no"
    )
    for id_, text, role, terms, vector in rows:
        if (terms, vector) != _derived(text, role):
            found.append(f"terms or a vector of another text: {id_}")
    return found


@lru_cache(maxsize=4_096)
def _derived(text: str, role: str | None) -> tuple[bytes, bytes]:
    terms = analyze(text, actor=None, role=role, key=b"").terms
    return terms, HashEmbedder().vector(text).astype("<f4").tobytes()


def contents(connection: sqlite3.Connection) -> dict[str, Held]:
    """The memories of every user, in order of insertion."""
    found: dict[str, Held] = {}
    rows = connection.execute("SELECT user_id, id, text, metadata FROM memories ORDER BY no")
    for user, id_, text, metadata in rows:
        kept = Kept(text, None if metadata is None else msgspec.json.decode(metadata))
        found.setdefault(user, {})[id_] = kept
    return found


def keys(connection: sqlite3.Connection) -> set[str]:
    """The idempotency keys of the jobs."""
    rows = connection.execute("SELECT idempotency_key FROM jobs WHERE idempotency_key NOT NULL")
    return {key for (key,) in rows}


def shape(connection: sqlite3.Connection) -> Shape:
    """Columns of every table and index, statistics aside."""
    names = connection.execute(
        "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    ).fetchall()
    pragma = {"table": "table_xinfo", "index": "index_xinfo"}
    return {
        name: connection.execute(f"PRAGMA {pragma[kind]}('{name}')").fetchall()
        for kind, name in names
    }
