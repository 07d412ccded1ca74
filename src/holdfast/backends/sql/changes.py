"""Generations and the outbox: what commits touched, written in the transaction they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import Row, insert, insert_all, parts
from holdfast.backends.sql.rows import EntityIds, owners_of
from holdfast.limits import OUTBOX_ROWS_KEPT
from holdfast.model import ENTITY_KINDS, EntityKind, Project

_PRUNE_EVERY = 1_000

_UPSERT_ENTITY = """
INSERT INTO entities (project, kind, id, generation, memories, created_at, updated_at)
VALUES (?,?,?,?,?,?,?)
ON CONFLICT (project, kind, id) DO UPDATE SET
  generation = excluded.generation, memories = entities.memories + excluded.memories,
  updated_at = CASE WHEN excluded.updated_at > entities.updated_at
                    THEN excluded.updated_at ELSE entities.updated_at END
RETURNING project, kind, id, no
"""

_INSERT_OUTBOX = """
INSERT INTO outbox (entity_no, generation, memory_no, memory_id) VALUES (?,?,?,?)
"""

# Never down: a reset may have raised it above what is pruned.
_RAISE = """
INSERT INTO counters (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value > counters.value
"""

FLOOR = "outbox_floor"
"""The counter of the last generation of which it is not known what it changed."""
FLOOR_OF = "outbox_floor:"
"""With a project behind it, the counter of the last change of the project that was forgotten."""
FLOOR_OF_ALL = "outbox_floor_of_all"
"""The counter of the last time when everything changed at once."""


class Changes:
    """Collects which memories of which entities one commit changes."""

    __slots__ = ("at", "project", "touched")

    def __init__(self, project: Project) -> None:
        self.project = project
        self.at = 0.0
        """The time of the commit: the greatest that its operations name."""
        self.touched: dict[tuple[EntityKind, str], Touch] = {}

    def note(self, ids: EntityIds, memory_no: int, memory_id: str, grows: int = 0) -> None:
        """A memory of these entities was put (grows=1), changed (0) or removed (-1)."""
        for kind, name in zip(ENTITY_KINDS, ids, strict=True):
            if name is None:
                continue
            touch = self.touched.get((kind, name))
            if touch is None:
                touch = self.touched[kind, name] = Touch()
            touch.grows += grows
            touch.memories[memory_no] = memory_id

    def ids(self) -> Iterator[str]:
        """The memories that were noted, some of them more than once."""
        for touch in self.touched.values():
            yield from touch.memories.values()

    def forget(self) -> None:
        """Nothing that was noted is there any more."""
        self.touched.clear()


class Follower(Protocol):
    """Writes what a group of commits changed somewhere else too, in the same transaction."""

    def changed(self, ids: Sequence[str], *, emptied: bool) -> None:
        """These memories are put, changed or removed now; `emptied`: all others are gone."""

    def written(self, generation: int) -> None:
        """Everything is written; the project's last generation is this one."""


class Touch:
    """What became of an entity: how many memories it has more, and which changed."""

    __slots__ = ("created_at", "grows", "memories", "updated_at")

    def __init__(self) -> None:
        self.grows = 0
        self.memories: dict[int, str] = {}
        self.created_at = 0.0
        self.updated_at = 0.0


def record(connection: Connection, group: Sequence[Changes]) -> int | None:
    """Give every touched entity the next generation, and write what the outbox must tell.

    The generation; None if nothing was touched.

    One generation does for a group of commits, since nobody sees one of them without the others.
    """
    touched = _together(group)
    if not touched:
        return None
    generation = connection.dialect.next_generation(connection)
    entities = [
        (*key, generation, touch.grows, touch.created_at, touch.updated_at)
        for key, touch in touched.items()
    ]
    rows: list[Row] = []
    for part in parts(len(entities)):
        for *key, no in insert(connection, _UPSERT_ENTITY, entities[part]).fetchall():
            changed = touched[key[0], key[1], key[2]].memories
            rows += [(no, generation, memory_no, id_) for memory_no, id_ in changed.items()]
    insert_all(connection, _INSERT_OUTBOX, rows)
    if generation % _PRUNE_EVERY == 0:
        with connection.dialect.everywhere(connection):  # what is kept is counted over all
            _prune(connection)
    return generation


def _together(group: Sequence[Changes]) -> dict[tuple[Project, EntityKind, str], Touch]:
    """What several commits did to each entity, in their order."""
    touched: dict[tuple[Project, EntityKind, str], Touch] = {}
    for changes in group:
        for (kind, name), touch in changes.touched.items():
            key = (changes.project, kind, name)
            known = touched.get(key)
            if known is None:
                touch.created_at = touch.updated_at = changes.at
                touched[key] = touch
            else:
                known.grows += touch.grows
                known.memories |= touch.memories
                known.updated_at = max(known.updated_at, changes.at)
    return touched


def _prune(connection: Connection) -> None:
    """Forget the oldest changes; `outbox_floor` says up to where, so that readers reload.

    Of each project the last change that is forgotten is kept, for those who follow all its changes.
    """
    row = connection.execute(
        "SELECT generation FROM outbox ORDER BY generation DESC LIMIT 1 OFFSET ?",
        (OUTBOX_ROWS_KEPT,),
    ).fetchone()
    if row is None:
        return
    forgotten: dict[int, int] = {}
    deleted = "DELETE FROM outbox WHERE generation <= ? RETURNING entity_no, generation"
    for entity_no, generation in connection.execute(deleted, row).fetchall():
        forgotten[entity_no] = max(generation, forgotten.get(entity_no, 0))
    _raise(connection, FLOOR, row[0])
    floors: dict[Project, int] = {}
    for entity_no, project in owners_of(connection, list(forgotten)):
        floors[project] = max(forgotten[entity_no], floors.get(project, 0))
    for owner, generation in floors.items():
        _raise(connection, FLOOR_OF + owner, generation)


def forget_all(connection: Connection, project: Project | None = None) -> int:
    """Make every reader reload: what is known of changes up to this generation, which is returned,
    is no longer complete.

    Those who follow whole projects need to for this project only, or for all if it is None.
    """
    generation = connection.dialect.next_generation(connection)
    _raise(connection, FLOOR, generation)
    _raise(connection, FLOOR_OF_ALL if project is None else FLOOR_OF + project, generation)
    return generation


def _raise(connection: Connection, name: str, generation: int) -> None:
    connection.execute(_RAISE, (name, generation))
