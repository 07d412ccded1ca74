"""The tables of the reference store, and the operations of `ports` on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

import msgspec

from holdfast.backends.memory import ledger
from holdfast.backends.memory.audit import Audit
from holdfast.backends.memory.directory import Rows, put_rows, stamps
from holdfast.backends.memory.rows import Leased, Row, Written
from holdfast.clock import Ids
from holdfast.core.outcome import gone, settled, unchangeable
from holdfast.directory import Delivery, Export, Feedback, Held
from holdfast.errors import ConflictError, ReplayedError, ValidationError
from holdfast.filters import Filter, matches, matches_scope, names_entities_only
from holdfast.model import (
    ANY,
    Entity,
    HistoryEvent,
    Job,
    Json,
    Memory,
    Origin,
    Project,
    Scope,
    Space,
    Turn,
)
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
    TakeRow,
)

Key = tuple[Project, str]
"""A project and an id in it."""

change = msgspec.structs.replace


@dataclass
class Tables:
    """Everything a store holds; the values are immutable, dictionaries keep order of insertion."""

    space: Space | None = None
    key_mark: int = 0
    analysis: int = 0
    """Version of the analysis that made the index terms."""
    generation: int = 0
    last_no: int = 0
    turns: dict[Key, Turn] = field(default_factory=dict)
    scopes: dict[Key, Scope] = field(default_factory=dict)
    """Whose the turns are."""
    rows: dict[Key, Row] = field(default_factory=dict)
    removed: dict[Project, tuple[Row, ...]] = field(default_factory=dict)
    """Deleted rows; their generation is that of the deletion."""
    reset_at: dict[Project, int] = field(default_factory=dict)
    """Generation of the last reset: what changed before it is not known any more."""
    history: dict[Project, tuple[HistoryEvent, ...]] = field(default_factory=dict)
    written: dict[tuple[Project, Entity], Written] = field(default_factory=dict)
    jobs: dict[Key, Leased] = field(default_factory=dict)
    usage: dict[Project, tuple[PutUsage | PutSpared, ...]] = field(default_factory=dict)
    directory: Rows = field(default_factory=dict)
    audit: Audit = field(default_factory=Audit)
    stamp: int = 0
    """Grows with each change of the directory."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Of the events in history, by their ids: the order in which they came."""
    index_numbers: dict[str, int] = field(default_factory=dict)
    """Where external indexes stand."""

    def copy(self) -> Tables:
        """Tables that can be changed without changing these."""
        fields: dict[str, Any] = {
            k: dict(v) if isinstance(v, dict) else v for k, v in vars(self).items()
        }
        return replace(self, **fields | {"audit": self.audit.copy()})

    def of(self, project: Project) -> list[Row]:
        """The memories of a project in order of insertion."""
        return [row for (owner, _), row in self.rows.items() if owner == project]

    def holds(self, project: Project, entity: Entity) -> list[Row]:
        """The memories of an entity in order of insertion."""
        return [row for row in self.of(project) if belongs(row.memory, entity)]

    def gone(self, project: Project, entity: Entity) -> list[Row]:
        """The deleted memories of an entity since the last reset."""
        return [row for row in self.removed.get(project, ()) if belongs(row.memory, entity)]


def belongs(memory: Memory, entity: Entity) -> bool:
    """Whether a memory names the entity, or any of its kind for the id "*"."""
    ids = {each.kind: each.id for each in memory.scope.entities()}
    return entity.kind in ids and entity.id in (ANY, ids[entity.kind])


def begins(memory: Memory) -> float:
    """When what a memory says begins to hold."""
    return memory.event_at if memory.valid_from is None else memory.valid_from


def current(row: Row) -> bool:
    """Whether a row is listed and has not ended."""
    return row.memory.listed and row.memory.valid_to is None


def raw(row: Row) -> bool:
    """Whether a row is a turn that stands beside the facts taken from it."""
    return row.memory.kind == "turn" and not row.memory.listed


class Transaction:
    """Carries out operations on tables of its own."""

    def __init__(self, tables: Tables, project: Project, ids: Ids) -> None:
        self.tables = tables
        self.project = project
        self.ids = ids
        self.at = 0.0
        self.touched: dict[Entity, None] = {}
        self.stored: dict[str, str] = {}
        tables.generation += 1

    def run(self, ops: Sequence[Op]) -> list[Json]:
        """Every operation in order, then the generations they change."""
        results = [self.carry_out(op) for op in ops]
        self.record()
        self.tables.audit.take(self.project, ops, results)
        return results

    def carry_out(self, op: Op) -> Json:
        """One operation; its result."""
        match op:
            case PutTurns():
                return self.put_turns(op)
            case PutMemory():
                self.stored[op.memory.id] = self.put_memory(op)
                return self.stored[op.memory.id]
            case EditMemory():
                return self.edit(op)
            case RemoveMemories():
                return self.remove(op)
            case SetVectors():
                return self.set_vectors(op)
            case FillSpace() | PutAudit():
                return None  # there is one space here; the audit comes at the end
            case PutJob():
                return self.put_job(change(op.job, result=settled(op.job.result, self.stored)))
            case FinishJob():
                return self.finish(change(op, result=settled(op.result, self.stored)))
            case PutUsage() | PutSpared() | HoldBudget() | SettleBudget():
                return self.account(op)
            case PutRows() | TakeRow():
                return self.change_rows(op)
            case Reset():
                return self.reset()
        assert_never(op)

    def row(self, memory_id: str) -> Row | None:
        """A memory of this project."""
        return self.tables.rows.get((self.project, memory_id))

    def write(self, row: Row) -> None:
        """Put or replace a row: a change of every entity it names."""
        row = change(row, generation=self.tables.generation)
        self.tables.rows[self.project, row.memory.id] = row
        self.touch(row.memory)

    def touch(self, memory: Memory) -> None:
        """The entities of this memory are changed by this commit."""
        self.touched.update(dict.fromkeys(memory.scope.entities()))

    def record(self) -> None:
        """Give each touched entity the generation and the time of this commit."""
        for entity in self.touched:
            before = self.tables.written.get((self.project, entity))
            self.tables.written[self.project, entity] = Written(
                generation=self.tables.generation,
                created_at=self.at if before is None else before.created_at,
                updated_at=self.at if before is None else max(self.at, before.updated_at),
            )

    def log(
        self,
        event: Literal["ADD", "UPDATE", "DELETE", "SUPERSEDE"],
        memory: Memory,
        texts: tuple[str | None, str | None],
        at: float | None,
        origin: Origin | None,
    ) -> None:
        """Append to a memory's history; `texts` are the old and the new one."""
        entry = HistoryEvent(
            id=self.ids.new(),
            memory_id=memory.id,
            event=event,
            old_memory=texts[0],
            new_memory=texts[1],
            created_at=memory.created_at,
            updated_at=at,
            is_deleted=event == "DELETE",
            actor_id=memory.actor_id,
            role=memory.role,
            user_id=memory.user_id,
            agent_id=memory.agent_id,
            app_id=memory.app_id,
            run_id=memory.run_id,
            listed=memory.listed,
            origin=origin,
        )
        self.note(entry)

    def note(self, entry: HistoryEvent) -> None:
        """Append an event to history."""
        known = self.tables.history.get(self.project, ())
        self.tables.history[self.project] = (*known, entry)
        self.tables.numbers[entry.id] = len(self.tables.numbers) + 1

    def put_turns(self, op: PutTurns) -> None:
        for turn in op.turns:
            self.tables.turns.setdefault((self.project, turn.id), turn)
            self.tables.scopes.setdefault((self.project, turn.id), op.scope)

    def put_memory(self, op: PutMemory) -> str:
        self.at = max(self.at, op.memory.updated_at)
        known = (row for row in self.tables.of(self.project) if row.identity == op.identity)
        row = next(known, None) or self.insert(op)
        named = (source.turn_id for source in op.sources)
        turns = row.turns | {id_ for id_ in named if (self.project, id_) in self.tables.turns}
        if turns != row.turns:
            quoted = {source.turn_id: source.quote for source in reversed(op.sources)}
            self.write(change(row, turns=turns, quotes={**quoted, **row.quotes}))
        for old_id in op.supersedes:
            if old_id != row.memory.id:
                self.supersede(old_id, op, row.memory.id)
        return row.memory.id

    def insert(self, op: PutMemory) -> Row:
        if self.row(op.memory.id) is not None:
            raise ConflictError(f"The memory id {op.memory.id} is another memory's.")
        self.tables.last_no += 1
        row = Row(
            no=self.tables.last_no,
            memory=op.memory,
            identity=op.identity,
            terms=op.terms,
            vector=op.vector,
            turns=frozenset(),
            quotes={},
            generation=self.tables.generation,
        )
        self.write(row)
        if op.past is None:
            self.log("ADD", op.memory, (None, op.memory.text), None, op.origin)
        for event in op.past or ():
            self.note(event)
        return row

    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        old, by = self.row(old_id), op.memory
        if old is None or old.memory.valid_to is not None or old.memory.immutable:
            return
        end = max(begins(by), begins(old.memory))
        self.end(old, end, by_id, by.updated_at)
        self.log("SUPERSEDE", old.memory, (old.memory.text, by.text), by.updated_at, op.origin)
        rows = self.tables.of(self.project)
        for turn in rows:
            may_end = raw(turn) and turn.memory.valid_to is None and not turn.memory.immutable
            behind = may_end and turn.turns & old.turns
            if behind and not any(current(row) and row.turns & turn.turns for row in rows):
                self.end(turn, max(end, turn.memory.event_at), by_id, by.updated_at)

    def end(self, row: Row, end: float, by_id: str, at: float) -> None:
        memory = change(
            row.memory,
            valid_to=end,
            superseded_by=by_id,
            updated_at=at,
            version=row.memory.version + 1,
        )
        self.write(change(row, memory=memory, identity=memory.id.encode()))

    def edit(self, op: EditMemory) -> Memory | None:
        row = self.row(op.memory_id)
        if row is None:
            return None
        if row.memory.immutable:
            raise unchangeable(row.memory.id)
        self.at = max(self.at, op.at)
        if op.identity is not None:
            for other in self.tables.of(self.project):
                if other.identity == op.identity and other.no != row.no:
                    raise ConflictError(f"Memory {other.memory.id} already says exactly this.")
        old = row.memory
        memory = change(old, updated_at=op.at, version=old.version + 1)
        for name in ("text", "hash", "event_at", "listed", "categories"):
            if (value := getattr(op, name)) is not None:
                memory = change(memory, **{name: value})
        if op.metadata is not None:
            memory = change(memory, metadata={**(old.metadata or {}), **op.metadata})
        if op.set_expires:
            memory = change(memory, expires_on=op.expires_on)
        self.write(self.edited(row, op, memory))
        if op.text is not None or op.metadata is not None or op.set_expires:
            self.log("UPDATE", old, (old.text, memory.text), op.at, op.origin)
        return memory

    def edited(self, row: Row, op: EditMemory, memory: Memory) -> Row:
        """The row with its new memory, and what goes with its text."""
        return change(
            row,
            memory=memory,
            identity=row.identity if op.identity is None else op.identity,
            terms=row.terms if op.terms is None else op.terms,
            vector=row.vector if op.text is None else op.vector,
        )

    def remove(self, op: RemoveMemories) -> list[str]:
        self.at = max(self.at, op.at)
        rows = self.tables.of(self.project)
        asked = [row for row in rows if matches(op.filter, row.memory)][: op.limit]
        doomed = self.with_turns(asked)
        for row in doomed:
            old = None if op.erase_history else row.memory.text
            self.log("DELETE", row.memory, (old, None), op.at, op.origin)
            del self.tables.rows[self.project, row.memory.id]
            gone = change(row, generation=self.tables.generation)
            self.tables.removed[self.project] = (*self.tables.removed.get(self.project, ()), gone)
            self.touch(row.memory)
        self.forget_turns({turn_id for row in doomed for turn_id in row.turns})
        self.forget({row.memory.id for row in doomed})
        if op.erase_history:
            self.blank({row.memory.id for row in doomed} | self.deleted_before(op.filter))
            self.release(op.filter)
        return [row.memory.id for row in asked]

    def with_turns(self, asked: list[Row]) -> list[Row]:
        """These rows, and the unlisted turns that came from the same raw turns, and so on."""
        doomed = {row.no: row for row in asked}
        while True:
            turns = {turn_id for row in doomed.values() for turn_id in row.turns}
            found = {
                row.no: row
                for row in self.tables.of(self.project)
                if raw(row) and row.turns & turns and row.no not in doomed
            }
            if not found:
                return [doomed[no] for no in sorted(doomed)]
            doomed |= found

    def forget(self, memory_ids: set[str]) -> None:
        """Delete feedback on these memories, and exports that were made from them."""
        directory = self.tables.directory
        for key, row in list(directory.items()):
            about: set[str] = set()
            if isinstance(row, Feedback):
                about = {row.memory_id}
            elif isinstance(row, Export):
                about = set(row.memories)
            if about & memory_ids and getattr(row, "project", None) == self.project:
                del directory[key]

    def forget_turns(self, turn_ids: set[str]) -> None:
        """Delete raw turns; memories that stay do not come from them any more."""
        for turn_id in turn_ids:
            del self.tables.turns[self.project, turn_id]
            self.tables.scopes.pop((self.project, turn_id), None)
        for row in self.tables.of(self.project):
            self.tables.rows[self.project, row.memory.id] = change(row, turns=row.turns - turn_ids)

    def deleted_before(self, of: Filter) -> set[str]:
        """Memories of these entities that were deleted earlier."""
        if not names_entities_only(of):
            return set()
        history = self.tables.history.get(self.project, ())
        deleted = (event for event in history if event.event == "DELETE")
        return {event.memory_id for event in deleted if matches_scope(of, event.scope)}

    def release(self, of: Filter) -> None:
        """Delete held adds of these entities."""
        if names_entities_only(of):
            for key, row in list(self.tables.directory.items()):
                if not isinstance(row, Held) or row.project != self.project:
                    continue
                if matches_scope(of, row.scope):
                    del self.tables.directory[key]

    def change_rows(self, op: PutRows | TakeRow) -> None:
        """Put or take rows of the directory."""
        directory = self.tables.directory
        if isinstance(op, PutRows):
            self.tables.stamp += stamps(op.rows)
            put_rows(directory, op.rows)
            return
        key = (op.kind, (op.id,))
        if getattr(directory.get(key), "project", None) != self.project:
            raise gone(op)
        self.tables.stamp += stamps([directory.pop(key)])

    def blank(self, memory_ids: set[str]) -> None:
        """Take the texts out of these memories' history."""
        self.tables.history[self.project] = tuple(
            change(event, old_memory=None, new_memory=None)
            if event.memory_id in memory_ids
            else event
            for event in self.tables.history.get(self.project, ())
        )

    def set_vectors(self, op: SetVectors) -> None:
        for memory_id, vector in op.vectors:
            row = self.row(memory_id)
            if row is not None and row.vector is None:
                self.write(change(row, vector=vector))

    def put_job(self, job: Job) -> None:
        if job.project != self.project:
            raise ValidationError("A job is put into its own project; nothing was changed.")
        for (project, _), known in self.tables.jobs.items():
            same = known.job.idempotency_key == job.idempotency_key and project == self.project
            if same and job.idempotency_key is not None:
                raise ReplayedError(known.job.id)
        if (self.project, job.id) in self.tables.jobs:
            raise ConflictError(f"The job id {job.id} is another job's.")
        self.tables.jobs[self.project, job.id] = Leased(job=job)

    def finish(self, op: FinishJob) -> None:
        leased = self.tables.jobs.get((self.project, op.job_id))
        waits = leased is not None and leased.job.state == "PENDING"
        if leased is None or leased.owner != op.owner or (op.owner is None and not waits):
            raise ConflictError(f"The lease of job {op.job_id} was lost to another worker.")
        job = change(
            leased.job,
            state=op.state,
            result=leased.job.result if op.result is None else op.result,
            error=op.error,
            error_code=op.error_code,
            run_after=op.run_after,
            completed_at=None if op.state == "PENDING" else op.at,
            attempts=leased.job.attempts - op.untried,
        )
        self.tables.jobs[self.project, op.job_id] = Leased(job=job)

    def put_usage(self, op: PutUsage | PutSpared) -> None:
        usage = self.tables.usage
        usage[self.project] = (*usage.get(self.project, ()), op)

    def account(self, op: PutUsage | PutSpared | HoldBudget | SettleBudget) -> list[int] | None:
        """What is about the ledger and its budgets."""
        if isinstance(op, HoldBudget):
            return self.hold(op)
        if isinstance(op, PutUsage | PutSpared):
            self.put_usage(op)
        else:
            self.settle(op)
        return None

    def hold(self, op: HoldBudget) -> list[int]:
        return ledger.hold(self.tables.directory, self.project, op)

    def settle(self, op: SettleBudget) -> None:
        ledger.settle(self.tables.directory, self.project, op)

    def reset(self) -> None:
        tables = self.tables
        mine = self.project
        for name in ("turns", "scopes", "rows", "written", "jobs"):
            kept = {key: one for key, one in getattr(tables, name).items() if key[0] != mine}
            setattr(tables, name, kept)
        tables.removed.pop(mine, None)
        tables.history.pop(mine, None)
        for kind in (Delivery, Feedback, Export, Held):
            tables.directory = {
                (each, key): row
                for (each, key), row in tables.directory.items()
                if each is not kind or getattr(row, "project", None) != mine
            }
        tables.usage.pop(mine, None)
        tables.reset_at[self.project] = tables.generation
        self.touched.clear()
