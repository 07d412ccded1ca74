"""Deleting memories together with everything that would still tell what they said.

What is deleted is named in the temporary table `doomed`, which is small beside the others. SQLite
knows nothing of that and would walk through them: CROSS JOIN has it begin with the table named
first. For Postgres it is a join like any other. Nor does SQLite know how few turns are behind them,
and what holds for one row of `memories` alone makes it look at every row first, for a Bloom filter:
CASE keeps that from it.
"""

from __future__ import annotations

from holdfast.backends.sql.changes import Changes
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import insert_all
from holdfast.backends.sql.rows import (
    INSERT_HISTORY,
    MEMORY_COLUMNS,
    NO_LIMIT,
    history_values,
    memories_from,
)
from holdfast.backends.sql.sealed_filters import condition_of
from holdfast.clock import Ids
from holdfast.filters import names_entities_only
from holdfast.model import Project
from holdfast.ports import RemoveMemories

# The unlisted turns a fact was taken from say the same in other words.
_ADD_TURNS = """
WITH RECURSIVE behind (no) AS (
  SELECT no FROM doomed
  UNION
  SELECT m.no FROM behind b CROSS JOIN sources f CROSS JOIN sources t CROSS JOIN memories m
  WHERE f.memory_no = b.no AND t.message_no = f.message_no AND m.no = t.memory_no
    AND CASE WHEN b.no IS NOT NULL THEN m.listed = 0 AND m.kind = 'turn' END
)
INSERT INTO doomed SELECT no, 0 FROM behind WHERE TRUE ON CONFLICT DO NOTHING
"""

_DELETE_MESSAGES = """
DELETE FROM messages WHERE no IN (
  SELECT s.message_no FROM doomed d CROSS JOIN sources s WHERE s.memory_no = d.no)
"""

# Of other facts too: the number of a deleted turn is given to another one some day.
_DELETE_LINKS = """
DELETE FROM sources WHERE message_no IN (
  SELECT s.message_no FROM doomed d CROSS JOIN sources s WHERE s.memory_no = d.no)
"""

_BLANK_HISTORY = """
UPDATE history SET old_memory = NULL, new_memory = NULL
WHERE project = ? AND memory_id IN (
  SELECT m.id FROM doomed d CROSS JOIN memories m WHERE m.no = d.no)
"""

_DELETE_FEEDBACK = """
DELETE FROM feedback WHERE project = ? AND memory_id IN (
  SELECT m.id FROM doomed d CROSS JOIN memories m WHERE m.no = d.no)
"""

# Few exports are kept of a project, and each names its memories.
_DELETE_EXPORTS = """
DELETE FROM exports WHERE project = ? AND EXISTS (
  SELECT 1 FROM {export_ids} e
  JOIN memories m ON m.project = exports.project AND m.id = e.value
  JOIN doomed d ON d.no = m.no)
"""

# Of memories deleted one by one before: their history still tells whose they were.
_BLANK_EARLIER = """
UPDATE history SET old_memory = NULL, new_memory = NULL
WHERE project = ? AND memory_id IN (
  SELECT m.memory_id FROM history m
  WHERE m.project = ? AND m.event = 'DELETE' AND ({condition}))
"""

_DELETE_HELD = """
DELETE FROM held WHERE project = ? AND id IN (
  SELECT m.id FROM held m WHERE m.project = ? AND ({condition}))
"""


def remove(
    connection: Connection,
    project: Project,
    op: RemoveMemories,
    changes: Changes,
    ids: Ids,
) -> list[str]:
    """Carry out RemoveMemories in the caller's transaction; the ids asked for that are gone."""
    execute, dialect = connection.execute, connection.dialect
    execute(dialect.doomed)
    execute("DELETE FROM doomed")
    condition, parameters = condition_of(connection, project, op.filter)
    limit = NO_LIMIT if op.limit is None else op.limit
    execute(
        "INSERT INTO doomed SELECT m.no, 1 FROM memories m "
        f"WHERE m.project = ? AND ({condition}) ORDER BY m.no LIMIT ?",
        (project, *parameters, limit),
    )
    execute(_ADD_TURNS)
    gone = _note(connection, project, op, changes, ids)
    execute(_DELETE_MESSAGES)
    if op.erase_history:
        execute(_BLANK_HISTORY, (project,))
        if names_entities_only(op.filter):
            earlier = _BLANK_EARLIER.format(condition=condition)
            execute(earlier, (project, project, *parameters))
            held = _DELETE_HELD.format(condition=condition)
            execute(held, (project, project, *parameters))
    execute(_DELETE_LINKS)
    execute(_DELETE_FEEDBACK, (project,))
    execute(_DELETE_EXPORTS.format(export_ids=dialect.export_ids), (project,))
    execute("DELETE FROM embeddings WHERE memory_no IN (SELECT no FROM doomed)")
    execute("DELETE FROM memories WHERE no IN (SELECT no FROM doomed)")
    execute("DELETE FROM doomed")
    return gone


def _note(
    connection: Connection,
    project: Project,
    op: RemoveMemories,
    changes: Changes,
    ids: Ids,
) -> list[str]:
    """Record the deletions in the outbox and in history."""
    rows = connection.execute(
        f"SELECT {MEMORY_COLUMNS}, m.no, d.asked FROM doomed d CROSS JOIN memories m "
        "WHERE m.no = d.no ORDER BY d.no"
    ).fetchall()
    events = []
    for row, memory in zip(rows, memories_from(connection, project, rows), strict=True):
        no = row[-2]
        names = (memory.user_id, memory.agent_id, memory.app_id, memory.run_id)
        changes.note(names, no, memory.id, grows=-1)
        texts = (None if op.erase_history else memory.text, None)
        event = (connection, project, "DELETE", memory, texts, op.at, ids.new(), op.origin)
        events.append(history_values(*event))
    insert_all(connection, INSERT_HISTORY, events)
    return [row[0] for row in rows if row[-1]]
