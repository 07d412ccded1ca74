"""Each operation of `ports`, carried out inside a write transaction that commits may share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from holdfast.backends.sql import audit, directory, erasing, ledger, queue, removal
from holdfast.backends.sql.changes import Changes, Follower, forget_all, record
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import insert_all
from holdfast.backends.sql.puts import Put, Puts
from holdfast.backends.sql.rows import (
    INSERT_EMBEDDING,
    INSERT_HISTORY,
    MEMORY_COLUMNS,
    entity_ids,
    history_values,
    memories_from,
    memory_text,
    metadata_json,
    only,
    to_json,
)
from holdfast.backends.sql.spaces import Binding, Current, confirm
from holdfast.backends.sql.vectors import Vectors
from holdfast.clock import Ids
from holdfast.core.audit import changed, counted
from holdfast.core.outcome import gone, settled, unchangeable
from holdfast.errors import ConflictError, SpaceMismatchError, ValidationError
from holdfast.model import Json, Memory, Origin, Project
from holdfast.ports import (
    EditMemory,
    FillSpace,
    FinishJob,
    HoldBudget,
    Op,
    PutAudit,
    PutJob,
    PutMemory,
    PutRows,
    PutSpared,
    PutTurns,
    PutUsage,
    RemoveMemories,
    Reset,
    SettleBudget,
    SetVectors,
    SpaceSwitched,
    TakeRow,
)
from holdfast.trail import AuditRow

_PROJECT_TABLES = (
    "messages", "memories", "entities", "history", "jobs", "usage", "feedback", "exports",
    "deliveries", "held",
)  # fmt: skip


_BOUND_OPS = (PutMemory, EditMemory, SetVectors, FillSpace, PutTurns)
"""Operations that write vectors, terms or texts."""

_BLIND_OPS = (PutTurns, PutMemory, PutJob, PutUsage, PutSpared, PutAudit, HoldBudget, SettleBudget)
"""Operations that do not care what was put before them, or see to it themselves."""

_BRIEF: Final = 16
"""Operations, and rows of the audit, that take milliseconds together."""

Commit = tuple[Project, Sequence[Op]]


def is_brief(ops: Sequence[Op]) -> bool:
    """Whether carrying them out takes little more than the commit itself."""
    rows = sum(len(op.rows) if isinstance(op, PutAudit) else 1 for op in ops)
    return rows <= _BRIEF and all(isinstance(op, _BLIND_OPS) for op in ops)


def carry_out(
    connection: Connection,
    commits: Sequence[Commit],
    binding: Binding,
    ids: Ids,
    follower: Follower | None = None,
) -> list[list[Json]]:
    """Carry out commits in one transaction, in order; the results of each.

    `follower`: for commits of one project only. Raises what any of them raised; nothing of it may
    stay then.
    """
    current = None
    if any(isinstance(op, _BOUND_OPS) for _, ops in commits for op in ops):
        current = confirm(connection, binding)
        for _, ops in commits:
            _check_epoch(ops, binding, current)
    erasing.check(connection, commits, binding, current)
    group = Group(connection, current, ids)
    outcomes = [Transaction(group, project).run(ops) for project, ops in commits]
    group.puts.flush()
    _record(group, follower)
    if group.audit:
        audit.append(connection, group.audit)
    return [[_told(result) for result in results] for results in outcomes]


def _check_epoch(ops: Sequence[Op], binding: Binding, current: Current) -> None:
    """Refuse vectors of other spaces than those in force. Raises SpaceSwitched, or for vectors of
    the space the store was opened with, SpaceMismatchError."""
    for op in ops:
        if not isinstance(op, PutMemory | EditMemory | SetVectors):
            continue
        if op.epoch is not None:
            if op.epoch != current.epoch:
                raise SpaceSwitched
        elif _has_vectors(op) and current.space_no != binding.space_no:
            raise SpaceMismatchError(
                "The embedder of this store was changed.", hint="Open the store again."
            )


def _has_vectors(op: PutMemory | EditMemory | SetVectors) -> bool:
    return bool(op.vectors) if isinstance(op, SetVectors) else op.vector is not None


def _record(group: Group, follower: Follower | None) -> None:
    ids = list(dict.fromkeys(id_ for changes in group.changes for id_ in changes.ids()))
    emptied = group.emptied
    if follower is None or not (ids or emptied):
        record(group.connection, group.changes)
        return
    follower.changed(ids, emptied=emptied is not None)
    generation = record(group.connection, group.changes)
    last = emptied if generation is None else generation
    assert last is not None, "what changed has a generation"
    follower.written(last)


def _told(result: Json | Put) -> Json:
    return result.stored_id if isinstance(result, Put) else result


class Group:
    """What the commits of one transaction share."""

    def __init__(self, connection: Connection, current: Current | None, ids: Ids) -> None:
        self.connection = connection
        self.current = current
        self.ids = ids
        self.puts = Puts(connection, current, ids)
        self.changes: list[Changes] = []
        self.audit: list[AuditRow] = []
        """Rows for the ends of chains, which are locked as late as can be."""
        self.emptied: int | None = None
        """The generation in which a project was reset, if one was."""


class Transaction:
    """Carries out the operations of one `commit` on the write connection."""

    def __init__(self, group: Group, project: Project) -> None:
        self.group = group
        self.connection = group.connection
        self.project = project
        self.current = group.current
        self.ids = group.ids
        self.changes = Changes(project)
        group.changes.append(self.changes)
        self._puts: list[Put] = []

    def run(self, ops: Sequence[Op]) -> list[Json | Put]:
        """Every operation in order; a Put stands for a result that is known once it is flushed."""
        results = [self._run_one(op) for op in ops]
        told = [row for op in ops if isinstance(op, PutAudit) for row in op.rows]
        if told:
            self.group.audit += counted(told, changed(ops, results))
        return results

    def _run_one(self, op: Op) -> Json | Put:
        if not isinstance(op, _BLIND_OPS):
            self.group.puts.flush()
        return _HANDLERS[type(op)](self, op)

    def happens(self, at: float) -> None:
        """An operation names this time."""
        self.changes.at = max(self.changes.at, at)

    def put(self, op: PutMemory) -> Put:
        """Put a memory; it is not written before the next flush."""
        put = self.group.puts.memory(op, self.changes)
        self._puts.append(put)
        return put

    def stored(self) -> dict[str, str]:
        """Ids under which memories were to be put so far, and are stored."""
        self.group.puts.flush()
        return {put.op.memory.id: put.stored_id for put in self._puts}

    def log(
        self,
        event: str,
        memory: Memory,
        texts: tuple[str, str],
        at: float,
        origin: Origin | None,
    ) -> None:
        """Append a change to a memory's history: the old and the new text."""
        row = history_values(
            self.connection, self.project, event, memory, texts, at, self.ids.new(), origin
        )
        self.connection.execute(INSERT_HISTORY, row)

    def load(self, memory_id: str) -> tuple[int, Memory] | None:
        """A memory and its number, as this transaction sees it."""
        row = self.connection.execute(
            f"SELECT {MEMORY_COLUMNS}, m.no FROM memories m WHERE m.project = ? AND m.id = ?",
            (self.project, memory_id),
        ).fetchone()
        if row is None:
            return None
        [memory] = memories_from(self.connection, self.project, [row])
        return row[-1], memory

    def vectors(self, found: tuple[int, Memory]) -> Vectors:
        """The rows of the vectors of a memory that was loaded."""
        return Vectors(self.connection, self.project, found[1], found[0])

    def set_vectors(
        self, found: tuple[int, Memory], vector: bytes | None, shadow: bytes | None
    ) -> None:
        """Replace the vectors of a memory in all spaces by those of its new text."""
        self.connection.execute("DELETE FROM embeddings WHERE memory_no = ?", (found[0],))
        if self.current is not None:
            rows = self.vectors(found).rows(self.current, vector, shadow)
            insert_all(self.connection, INSERT_EMBEDDING, rows)


def _put_turns(tx: Transaction, op: PutTurns) -> None:
    tx.group.puts.turns(tx.project, op)


def _put_memory(tx: Transaction, op: PutMemory) -> Put:
    tx.happens(op.memory.updated_at)
    put = tx.put(op)
    if op.supersedes:
        tx.group.puts.flush()
        for old_id in op.supersedes:
            if old_id != put.stored_id:
                _supersede(tx, old_id, op, put.stored_id)
    return put


def _supersede(tx: Transaction, old_id: str, op: PutMemory, by_id: str) -> None:
    """End a memory where its successor begins; its text stays for `as_of` questions."""
    by = op.memory
    found = tx.load(old_id)
    if found is None or found[1].valid_to is not None or found[1].immutable:
        return
    old_no, old = found
    begin = by.event_at if by.valid_from is None else by.valid_from
    end = max(begin, old.event_at if old.valid_from is None else old.valid_from)
    _end(tx, old_no, old, end, by_id, by.updated_at)
    tx.log("SUPERSEDE", old, (old.text, by.text), by.updated_at, op.origin)
    for turn_no, turn in _turns_behind(tx, old_no):
        _end(tx, turn_no, turn, max(end, turn.event_at), by_id, by.updated_at)


def _end(tx: Transaction, no: int, memory: Memory, end: float, by_id: str, at: float) -> None:
    # the identity is given up, so that the same fact may become true again
    tx.connection.execute(
        "UPDATE memories SET valid_to = ?, superseded_by = ?, updated_at = ?, "
        "version = version + 1, identity = ? WHERE no = ?",
        (end, by_id, at, memory.id.encode(), no),
    )
    tx.changes.note(entity_ids(memory), no, memory.id)


def _turns_behind(tx: Transaction, fact_no: int) -> list[tuple[int, Memory]]:
    """Unlisted turns that this fact came from and no current fact still rests on."""
    rows = tx.connection.execute(
        f"SELECT DISTINCT {MEMORY_COLUMNS}, m.no FROM sources f "
        "JOIN sources t ON t.message_no = f.message_no JOIN memories m ON m.no = t.memory_no "
        "WHERE f.memory_no = ? AND m.listed = 0 AND m.kind = 'turn' AND m.valid_to IS NULL "
        "AND m.immutable IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM sources a JOIN sources o ON o.message_no = a.message_no "
        "  JOIN memories c ON c.no = o.memory_no "
        "  WHERE a.memory_no = m.no AND c.listed = 1 AND c.valid_to IS NULL)",
        (fact_no,),
    ).fetchall()
    memories = memories_from(tx.connection, tx.project, rows)
    return [(row[-1], memory) for row, memory in zip(rows, memories, strict=True)]


def _edit_memory(tx: Transaction, op: EditMemory) -> Memory | None:
    found = tx.load(op.memory_id)
    if found is None:
        return None
    memory_no, old = found
    if old.immutable:
        raise unchangeable(old.id)
    tx.happens(op.at)
    if op.identity is not None:
        _refuse_taken(tx, op.identity, memory_no)
    columns = _edited_columns(tx, op, old)
    assignments = ", ".join(f"{name} = ?" for name in columns)
    tx.connection.execute(
        f"UPDATE memories SET {assignments} WHERE no = ?", (*columns.values(), memory_no)
    )
    if op.text is not None:
        tx.set_vectors(found, op.vector, op.shadow)
    tx.connection.execute("UPDATE memories SET version = version + 1 WHERE no = ?", (memory_no,))
    if op.text is not None or op.metadata is not None or op.set_expires:
        new_text = old.text if op.text is None else op.text
        tx.log("UPDATE", old, (old.text, new_text), op.at, op.origin)
    tx.changes.note(entity_ids(old), memory_no, old.id)
    changed = tx.load(op.memory_id)
    return None if changed is None else changed[1]


def _edited_columns(tx: Transaction, op: EditMemory, old: Memory) -> dict[str, Any]:
    columns: dict[str, Any] = {"updated_at": op.at}
    for name in ("hash", "identity", "event_at"):
        if (value := getattr(op, name)) is not None:
            columns[name] = value
    if op.text is not None:
        columns["text"] = memory_text(tx.connection, tx.project, old, op.text)
    if op.terms is not None:
        for name in ("terms", "flags", "words", "speaker"):
            columns[name] = getattr(op.terms, name)
    if op.metadata is not None:
        merged = {**(old.metadata or {}), **op.metadata}
        columns["metadata"] = metadata_json(tx.connection, tx.project, old, merged)
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
    assert tx.current is not None
    shadows = op.shadows or (None,) * len(op.vectors)
    for (memory_id, vector), shadow in zip(op.vectors, shadows, strict=True):
        found = tx.load(memory_id)
        if found is None:
            continue
        # one that is there may belong to a newer text than the one this was computed from
        rows = tx.vectors(found).rows(tx.current, vector, shadow)
        keep = f"{INSERT_EMBEDDING} ON CONFLICT DO NOTHING"
        if tx.connection.execute(keep, rows[0]).rowcount:
            for row in rows[1:]:
                tx.connection.execute(keep, row)
            tx.changes.note(entity_ids(found[1]), found[0], memory_id)


def _fill_space(tx: Transaction, op: FillSpace) -> None:
    status = only(tx.connection, "SELECT status FROM spaces WHERE no = ?", (op.space_no,))
    if status not in ("shadow", "active"):
        return
    noted = op.noted or status == "active"
    for memory_id, hash_, vector in op.vectors:
        found = tx.load(memory_id)
        if found is None or found[1].hash != hash_:
            continue
        new = tx.connection.execute(
            f"{INSERT_EMBEDDING} ON CONFLICT DO NOTHING", tx.vectors(found).row(op.space_no, vector)
        ).rowcount
        if new and noted:
            tx.changes.note(entity_ids(found[1]), found[0], memory_id)


def _remove(tx: Transaction, op: RemoveMemories) -> list[str]:
    tx.happens(op.at)
    return removal.remove(tx.connection, tx.project, op, tx.changes, tx.ids)


def _put_usage(tx: Transaction, op: PutUsage) -> None:
    ledger.put_usage(tx.connection, tx.project, op)


def _put_spared(tx: Transaction, op: PutSpared) -> None:
    ledger.put_spared(tx.connection, tx.project, op)


def _hold_budget(tx: Transaction, op: HoldBudget) -> list[int]:
    return ledger.hold(tx.connection, tx.project, op)


def _settle_budget(tx: Transaction, op: SettleBudget) -> None:
    ledger.settle(tx.connection, tx.project, op)


def _put_rows(tx: Transaction, op: PutRows) -> None:
    directory.insert(tx.connection, op.rows)


def _take_row(tx: Transaction, op: TakeRow) -> None:
    if not directory.take(tx.connection, tx.project, op):
        raise gone(op)


def _put_audit(tx: Transaction, op: PutAudit) -> None:
    if any(row.project != tx.project for row in op.rows):
        raise ValidationError("The audit of a project tells of it alone; nothing was changed.")


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
    tx.group.emptied = forget_all(tx.connection, tx.project)
    # what earlier operations changed is gone as well, those of earlier commits of the group too
    for changes in tx.group.changes:
        if changes.project == tx.project:
            changes.forget()


def _put_job(tx: Transaction, op: PutJob) -> None:
    job = op.job
    if job.project != tx.project:
        raise ValidationError("A job is put into its own project; nothing was changed.")
    if job.result is not None:
        job = replace(job, result=settled(job.result, tx.stored()))
    tx.group.puts.job(job)


def _finish_job(tx: Transaction, op: FinishJob) -> None:
    end = replace(op, result=settled(op.result, tx.stored()))
    queue.finish(tx.connection, tx.project, end)


_HANDLERS: dict[type, Callable[[Transaction, Any], Json]] = {
    PutTurns: _put_turns,
    PutMemory: _put_memory,
    EditMemory: _edit_memory,
    RemoveMemories: _remove,
    SetVectors: _set_vectors,
    FillSpace: _fill_space,
    PutJob: _put_job,
    FinishJob: _finish_job,
    PutUsage: _put_usage,
    PutSpared: _put_spared,
    HoldBudget: _hold_budget,
    SettleBudget: _settle_budget,
    PutRows: _put_rows,
    TakeRow: _take_row,
    PutAudit: _put_audit,
    Reset: _reset,
}
