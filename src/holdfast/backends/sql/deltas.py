"""What an index reads of an entity: all its entries, or what changed since it last looked.

Statements that do not depend on one another are asked before the answer of any is looked at, and
the last of them with the end of the transaction: where each look is a round trip, these are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from holdfast.backends.sql.dialect import Connection, Cursor
from holdfast.backends.sql.queries import ENTRY_COLUMNS, JOIN_VECTOR, ask_state, entries_from
from holdfast.backends.sql.rows import MEMORY_COLUMNS, entity_condition
from holdfast.backends.sql.spaces import Current, ask_current, current_from
from holdfast.model import ANY, Entity, Project
from holdfast.ports import Delta

# Pairs of an unlisted turn `m` and a fact `f` of the same message. CROSS JOIN is the order in which
# SQLite goes: from the rows that are named to the others, by primary keys or sources_by_message.
_TOLD = """
SELECT m.id, f.id FROM {order} WHERE {condition}
AND a.memory_no = m.no AND b.message_no = a.message_no AND f.no = b.memory_no
AND m.listed = 0 AND m.kind = 'turn' AND f.listed = 1
"""
_FROM_TURNS = "memories m CROSS JOIN sources a CROSS JOIN sources b CROSS JOIN memories f"
_FROM_FACTS = "memories f CROSS JOIN sources b CROSS JOIN sources a CROSS JOIN memories m"


class _Whole(NamedTuple):
    """Answers about all of an entity."""

    rows: Cursor
    told: Cursor


def delta(
    connection: Connection,
    project: Project,
    entity: Entity,
    since: int | None,
    epoch: int | None,
) -> Delta:
    """Index entries of an entity: the changes since `since` if they are still known, else all."""
    state, spaces = ask_state(connection, project, entity), ask_current(connection)
    whole = _ask_whole(connection, project, entity) if since is None else None
    changes = None if since is None else _ask_changes(connection, project, entity, since)
    generation, now = state.fetchone()[0], current_from(spaces)
    old = since is None or not now.forgotten <= since <= generation
    if changes is None or old or epoch not in (None, now.epoch):
        whole = whole or _ask_whole(connection, project, entity)
        return _complete(connection, project, now, generation, whole)
    return _changed(connection, project, now, generation, changes.fetchall())


def _ask_whole(connection: Connection, project: Project, entity: Entity) -> _Whole:
    condition, values = entity_condition(entity)
    rows = connection.execute(
        f"SELECT {MEMORY_COLUMNS}, {ENTRY_COLUMNS} FROM memories m {JOIN_VECTOR} "
        f"WHERE m.project = ? AND {condition} ORDER BY m.no",
        (project, *values),
    )
    sql = _TOLD.format(order=_FROM_TURNS, condition=f"m.project = ? AND {condition}")
    told = connection.execute(sql, (project, *values))
    connection.dialect.asks_no_more(connection)
    return _Whole(rows, told)


def _complete(
    connection: Connection, project: Project, now: Current, generation: int, whole: _Whole
) -> Delta:
    memories, entries = entries_from(connection, project, whole.rows, now.dimensions)
    return Delta(
        generation=generation,
        complete=True,
        entries=entries,
        memories=memories,
        told=tuple(whole.told),
        epoch=now.epoch,
        dimensions=now.dimensions,
    )


def _ask_changes(connection: Connection, project: Project, entity: Entity, since: int) -> Cursor:
    one, of = ("", ()) if entity.id == ANY else ("AND n.id = ? ", (entity.id,))
    return connection.execute(
        "SELECT DISTINCT o.memory_no, o.memory_id FROM outbox o JOIN entities n "
        f"ON n.no = o.entity_no WHERE n.project = ? AND n.kind = ? {one}AND o.generation > ?",
        (project, entity.kind, *of, since),
    )


def _changed(
    connection: Connection,
    project: Project,
    now: Current,
    generation: int,
    changed: Sequence[tuple[int, str]],
) -> Delta:
    numbers = [no for no, _ in changed]
    dialect = connection.dialect
    among, values = dialect.among("m.no", numbers)
    rows = connection.execute(
        f"SELECT {MEMORY_COLUMNS}, {ENTRY_COLUMNS} FROM memories m{dialect.by_number} "
        f"{JOIN_VECTOR} WHERE m.project = ? AND {among} ORDER BY m.no",
        (project, *values),
    )
    told = told_by_turns(connection, numbers), _told_by_facts(connection, numbers)
    dialect.asks_no_more(connection)
    memories, entries = entries_from(connection, project, rows, now.dimensions)
    kept = {memory.id for memory in memories}
    return Delta(
        generation=generation,
        complete=False,
        entries=entries,
        memories=memories,
        removed=tuple(id_ for _, id_ in changed if id_ not in kept),
        told=tuple(dict.fromkeys(chain(*told))),
        epoch=now.epoch,
        dimensions=now.dimensions,
    )


def told_by_turns(connection: Connection, numbers: Sequence[int]) -> Cursor:
    """Ask for pairs of an unlisted turn among `numbers` and a fact of the same message; ids."""
    among, values = connection.dialect.among("m.no", numbers)
    return connection.execute(_TOLD.format(order=_FROM_TURNS, condition=among), values)


def _told_by_facts(connection: Connection, numbers: Sequence[int]) -> Cursor:
    among, values = connection.dialect.among("f.no", numbers)
    return connection.execute(_TOLD.format(order=_FROM_FACTS, condition=among), values)
