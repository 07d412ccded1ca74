"""Each operation of `ports`, carried out inside a write transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from holdfast.backends.sqlite import directory, queue, removal
from holdfast.backends.sqlite.changes import Changes, forget_all
from holdfast.backends.sqlite.rows import (
    INSERT_HISTORY,
    INSERT_MEMORY,
    INSERT_MESSAGE,
    MEMORY_COLUMNS,
    history_values,
    memory_from,
    memory_values,
    message_values,
    only,
    refusing_taken_ids,
    to_json,
)
from holdfast.backends.sqlite.spaces import Binding, confirm
from holdfast.clock import Ids
from holdfast.core.outcome import settled
from holdfast.errors import ConflictError
from holdfast.model import Json, Memory, Project
from holdfast.ports import (
    EditMemory,
    FinishJob,
    Op,
    PutJob,
    PutMemory,
    PutRows,
    PutTurns,
    PutUsage,
    RemoveMemories,
    Reset,
    SetVectors,
)

_PROJECT_TABLES = (
    "messages", "memories", "entities", "history", "jobs", "usage", "feedback", "exports",
    "deliveries",
)  # fmt: skip


class Transaction:
    """Carries out the operations of one `commit` on the write connection."""

    def __init__(
        self, connection: sqlite3.Connection, project: Project, binding: Binding, ids: Ids
    ) -> None:
        self.connection = connection
        self.project = project
        self.binding = binding
        self.ids = ids
        self.changes = Changes(connection, project)
        self.at = 0.0
        self.stored: dict[str, str] = {}
        """Ids under which memories were to be put, and are stored."""

    def run(self, ops: Sequence[Op]) -> list[Json]:
        """Every operation in order, then the generations they bump."""
        if any(isinstance(op, PutMemory | EditMemory | SetVectors) for op in ops):
            confirm(self.connection, self.binding)
        results = [_HANDLERS[type(op)](self, op) for op in ops]
        self.changes.record(self.at)
        return results

    def log(self, event: str, memory: Memory, old: str | None, new: str | None, at: float) -> None:
        """Append to a memory's history."""
        updated = None if event == "ADD" else at
        row = history_values(self.project, event, memory, (old, new), updated, self.ids.new())
        self.connection.execute(INSERT_HISTORY, row)

    def load(self, memory_id: str) -> tuple[int, Memory] | None:
        """A memory and its number, as this transaction sees it."""
        row = self.connection.execute(
            f"SELECT {MEMORY_COLUMNS}, m.no FROM memories m WHERE m.project = ? AND m.id = ?",
            (self.project, memory_id),
        ).fetchone()
        return None if row is None else (row[-1], memory_from(row))

    def set_vector(self, memory_no: int, vector: bytes | None) -> None:
        """Replace the vector in the active space; None removes it."""
        if vector is None:
            self.connection.execute("DELETE FROM embeddings WHERE memory_no = ?", (memory_no,))
            return
        self.connection.execute(
            "INSERT OR REPLACE INTO embeddings VALUES (?,?,?)",
            (memory_no, self.binding.space_no, vector),
        )


def entity_ids(memory: Memory) -> tuple[str | None, str | None, str | None, str | None]:
    """The four identities of a memory."""
    return (memory.user_id, memory.agent_id, memory.app_id, memory.run_id)


def _put_turns(tx: Transaction, op: PutTurns) -> None:
    rows = [message_values(tx.project, op.scope, turn) for turn in op.turns]
    tx.connection.executemany(INSERT_MESSAGE, rows)


def _put_memory(tx: Transaction, op: PutMemory) -> str:
    memory = op.memory
    tx.at = max(tx.at, memory.updated_at)
    memory_no = _insert(tx, op)
    if memory_no is not None:
        stored_id = memory.id
        if op.vector is not None:
            tx.set_vector(memory_no, op.vector)
        tx.log("ADD", memory, None, memory.text, memory.created_at)
        tx.changes.note(entity_ids(memory), memory_no, memory.id, grows=1)
    else:
        memory_no, stored_id = tx.connection.execute(
            "SELECT no, id FROM memories WHERE project = ? AND identity = ?",
            (tx.project, op.identity),
        ).fetchone()
    if _link_sources(tx, memory_no, op):
        tx.changes.note(entity_ids(memory), memory_no, stored_id)
    for old_id in op.supersedes:
        if old_id != stored_id:
            _supersede(tx, old_id, memory, stored_id)
    tx.stored[memory.id] = str(stored_id)
    return str(stored_id)


def _insert(tx: Transaction, op: PutMemory) -> int | None:
    """The number of the new memory; None if one with its identity exists."""
    with refusing_taken_ids(f"The memory id {op.memory.id} is another memory's."):
        row = tx.connection.execute(INSERT_MEMORY, memory_values(tx.project, op)).fetchone()
    return None if row is None else int(row[0])


def _link_sources(tx: Transaction, memory_no: int, op: PutMemory) -> int:
    """How many links are new."""
    return sum(
        tx.connection.execute(
            "INSERT OR IGNORE INTO sources (memory_no, message_no, quote) "
            "SELECT ?, no, ? FROM messages WHERE project = ? AND id = ?",
            (memory_no, source.quote, tx.project, source.turn_id),
        ).rowcount
        for source in op.sources
    )


def _supersede(tx: Transaction, old_id: str, by: Memory, by_id: str) -> None:
    """End a memory where its successor begins; its text stays for `as_of` questions."""
    found = tx.load(old_id)
    if found is None or found[1].valid_to is not None:
        return
    old_no, old = found
    begin = by.event_at if by.valid_from is None else by.valid_from
    end = max(begin, old.event_at if old.valid_from is None else old.valid_from)
    _end(tx, old_no, old, end, by_id, by.updated_at)
    tx.log("SUPERSEDE", old, old.text, by.text, by.updated_at)
    for turn_no, turn in _turns_behind(tx, old_no):
        _end(tx, turn_no, turn, max(end, turn.event_at), by_id, by.updated_at)


def _end(tx: Transaction, no: int, memory: Memory, end: float, by_id: str, at: float) -> None:
    # the identity is given up, so that the same fact may become true again
    tx.connection.execute(
        "UPDATE memories SET valid_to = ?, superseded_by = ?, updated_at = ?, "
        "version = version + 1, identity = CAST(id AS BLOB) WHERE no = ?",
        (end, by_id, at, no),
    )
    tx.changes.note(entity_ids(memory), no, memory.id)


def _turns_behind(tx: Transaction, fact_no: int) -> list[tuple[int, Memory]]:
    """Unlisted turns that this fact came from and no current fact still rests on."""
    rows = tx.connection.execute(
        f"SELECT DISTINCT {MEMORY_COLUMNS}, m.no FROM sources f "
        "JOIN sources t ON t.message_no = f.message_no JOIN memories m ON m.no = t.memory_no "
        "WHERE f.memory_no = ? AND m.listed = 0 AND m.kind = 'turn' AND m.valid_to IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM sources a JOIN sources o ON o.message_no = a.message_no "
        "  JOIN memories c ON c.no = o.memory_no "
        "  WHERE a.memory_no = m.no AND c.listed = 1 AND c.valid_to IS NULL)",
        (fact_no,),
    ).fetchall()
    return [(row[-1], memory_from(row)) for row in rows]


def _edit_memory(tx: Transaction, op: EditMemory) -> Memory | None:
    found = tx.load(op.memory_id)
    if found is None:
        return None
    memory_no, old = found
    tx.at = max(tx.at, op.at)
    if op.identity is not None:
        _refuse_taken(tx, op.identity, memory_no)
    columns = _edited_columns(op, old)
    assignments = ", ".join(f"{name} = ?" for name in columns)
    tx.connection.execute(
        f"UPDATE memories SET {assignments} WHERE no = ?", (*columns.values(), memory_no)
    )
    if op.text is not None:
        tx.set_vector(memory_no, op.vector)
    tx.connection.execute("UPDATE memories SET version = version + 1 WHERE no = ?", (memory_no,))
    if op.text is not None or op.metadata is not None or op.set_expires:
        tx.log("UPDATE", old, old.text, old.text if op.text is None else op.text, op.at)
    tx.changes.note(entity_ids(old), memory_no, old.id)
    changed = tx.load(op.memory_id)
    return None if changed is None else changed[1]


def _edited_columns(op: EditMemory, old: Memory) -> dict[str, Any]:
    columns: dict[str, Any] = {"updated_at": op.at}
    for name in ("text", "hash", "identity", "event_at"):
        if (value := getattr(op, name)) is not None:
            columns[name] = value
    if op.terms is not None:
        for name in ("terms", "flags", "words", "speaker"):
            columns[name] = getattr(op.terms, name)
    if op.metadata is not None:
        columns["metadata"] = to_json({**(old.metadata or {}), **op.metadata})
    if op.categories is not None:
        columns["categories"] = to_json(op.categories or None)
    if op.listed is not None:
        columns["listed"] = int(op.listed)
    if op.set_expires:
        columns["expires_on"] = op.expires_on
    return columns


def _refuse_taken(tx: Transaction, identity: bytes, memory_no: int) -> None:
    other = only(
        tx.connection,
        "SELECT id FROM memories WHERE project = ? AND identity = ? AND no != ?",
        (tx.project, identity, memory_no),
    )
    if other is not None:
        raise ConflictError(
            f"Memory {other} in the same scope already says exactly this.",
            hint="Delete one of the two; nothing was changed.",
        )


def _set_vectors(tx: Transaction, op: SetVectors) -> None:
    for memory_id, vector in op.vectors:
        found = tx.load(memory_id)
        if found is None:
            continue
        # one that is there may belong to a newer text than the one this was computed from
        new = tx.connection.execute(
            "INSERT OR IGNORE INTO embeddings VALUES (?,?,?)",
            (found[0], tx.binding.space_no, vector),
        ).rowcount
        if new:
            tx.changes.note(entity_ids(found[1]), found[0], memory_id)


def _remove(tx: Transaction, op: RemoveMemories) -> list[str]:
    tx.at = max(tx.at, op.at)
    return removal.remove(tx.connection, tx.project, op, tx.changes, tx.ids)


def _put_usage(tx: Transaction, op: PutUsage) -> None:
    ids = (op.scope.user_id, op.scope.agent_id, op.scope.app_id, op.scope.run_id)
    tokens = (op.usage.input_tokens, op.usage.cached_tokens, op.usage.output_tokens)
    tx.connection.execute(
        "INSERT INTO usage (project, at, operation, model, input_tokens, cached_tokens, "
        "output_tokens, user_id, agent_id, app_id, run_id, job_id) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        (tx.project, op.at, op.operation, op.usage.model, *tokens, *ids, op.job_id),
    )


def _put_rows(tx: Transaction, op: PutRows) -> None:
    directory.insert(tx.connection, op.rows)


def _reset(tx: Transaction, _op: Reset) -> None:
    execute = tx.connection.execute
    mine = "memory_no IN (SELECT no FROM memories WHERE project = ?)"
    for table in ("embeddings", "sources"):
        execute(f"DELETE FROM {table} WHERE {mine}", (tx.project,))
    execute(
        "DELETE FROM outbox WHERE entity_no IN (SELECT no FROM entities WHERE project = ?)",
        (tx.project,),
    )
    for table in _PROJECT_TABLES:
        execute(f"DELETE FROM {table} WHERE project = ?", (tx.project,))
    forget_all(tx.connection)
    # what earlier operations of this commit changed is gone as well
    tx.changes = Changes(tx.connection, tx.project)


def _put_job(tx: Transaction, op: PutJob) -> None:
    job = replace(op.job, result=settled(op.job.result, tx.stored))
    queue.put(tx.connection, tx.project, job)


def _finish_job(tx: Transaction, op: FinishJob) -> None:
    end = replace(op, result=settled(op.result, tx.stored))
    queue.finish(tx.connection, tx.project, end)


_HANDLERS: dict[type, Callable[[Transaction, Any], Json]] = {
    PutTurns: _put_turns,
    PutMemory: _put_memory,
    EditMemory: _edit_memory,
    RemoveMemories: _remove,
    SetVectors: _set_vectors,
    PutJob: _put_job,
    FinishJob: _finish_job,
    PutUsage: _put_usage,
    PutRows: _put_rows,
    Reset: _reset,
}
