"""Generations and the outbox: what a transaction touched, written in that same transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from holdfast.limits import OUTBOX_ROWS_KEPT
from holdfast.model import ENTITY_KINDS, EntityKind, Project

_PRUNE_EVERY = 1_000

_UPSERT_ENTITY = """
INSERT INTO entities (project, kind, id, generation, memories, created_at, updated_at)
VALUES (?,?,?,?,?,?,?)
ON CONFLICT (project, kind, id) DO UPDATE SET
  generation = excluded.generation, memories = memories + excluded.memories,
  updated_at = max(updated_at, excluded.updated_at)
RETURNING no
"""

_NEXT_GENERATION = "UPDATE counters SET value = value + 1 WHERE name = 'generation' RETURNING value"

EntityIds = tuple[str | None, str | None, str | None, str | None]
"""user_id, agent_id, app_id, run_id of a memory."""


class Changes:
    """Collects which memories of which entities a transaction changes, then records it once."""

    def __init__(self, connection: sqlite3.Connection, project: Project) -> None:
        self._connection = connection
        self._project = project
        self._touched: dict[tuple[EntityKind, str], _Touch] = {}

    def note(self, ids: EntityIds, memory_no: int, memory_id: str, grows: int = 0) -> None:
        """A memory of these entities was put (grows=1), changed (0) or removed (-1)."""
        for kind, name in zip(ENTITY_KINDS, ids, strict=True):
            if name is None:
                continue
            touch = self._touched.get((kind, name))
            if touch is None:
                touch = self._touched[kind, name] = _Touch()
            touch.grows += grows
            touch.memories[memory_no] = memory_id

    def record(self, at: float) -> None:
        """Bump the generation of every touched entity and write its outbox rows."""
        if not self._touched:
            return
        execute = self._connection.execute
        generation = execute(_NEXT_GENERATION).fetchone()[0]
        rows: list[tuple[Any, ...]] = []
        for (kind, name), touch in self._touched.items():
            values = (self._project, kind, name, generation, touch.grows, at, at)
            entity_no = execute(_UPSERT_ENTITY, values).fetchone()[0]
            rows += [(entity_no, generation, no, id_) for no, id_ in touch.memories.items()]
        self._connection.executemany("INSERT INTO outbox VALUES (?,?,?,?)", rows)
        if generation % _PRUNE_EVERY == 0:
            _prune(self._connection)


class _Touch:
    __slots__ = ("grows", "memories")

    def __init__(self) -> None:
        self.grows = 0
        self.memories: dict[int, str] = {}


def _prune(connection: sqlite3.Connection) -> None:
    """Forget the oldest changes; `outbox_floor` says up to where, so that readers reload."""
    row = connection.execute(
        "SELECT generation FROM outbox ORDER BY generation DESC LIMIT 1 OFFSET ?",
        (OUTBOX_ROWS_KEPT,),
    ).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM outbox WHERE generation <= ?", row)
    _raise_floor(connection, row[0])


def forget_all(connection: sqlite3.Connection) -> None:
    """Make every reader reload: what is known of changes up to now is no longer complete."""
    generation = connection.execute(_NEXT_GENERATION).fetchone()[0]
    _raise_floor(connection, generation)


def _raise_floor(connection: sqlite3.Connection, generation: int) -> None:
    connection.execute(
        "INSERT INTO counters (name, value) VALUES ('outbox_floor', ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (generation,),
    )
