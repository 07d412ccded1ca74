"""Faults in what a store does with operations: the reference store's transactions, each broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.backends.memory import tables as memory_tables
from holdfast.backends.memory.tables import Leased, Row, Transaction, change
from holdfast.filters import Everything, Filter, matches
from holdfast.model import Job, Json, Memory
from holdfast.ports import (
    EditMemory,
    FinishJob,
    Op,
    PutMemory,
    PutTurns,
    RemoveMemories,
    SetVectors,
)


class Faulty(Transaction):
    """Base of the transactions with a fault."""


class ForgetsOrder(Faulty):
    def run(self, ops: Sequence[Op]) -> list[Json]:
        return super().run(ops[::-1])[::-1]


class OverwritesTurns(Faulty):
    def put_turns(self, op: PutTurns) -> None:
        self.tables.turns.update({(self.project, turn.id): turn for turn in op.turns})


class StoresTwice(Faulty):
    def put_memory(self, op: PutMemory) -> str:
        return super().put_memory(change(op, identity=op.identity + op.memory.id.encode()))


class OverwritesDuplicates(Faulty):
    def put_memory(self, op: PutMemory) -> str:
        stored = super().put_memory(op)
        row = self.row(stored)
        assert row is not None
        self.write(change(row, memory=change(op.memory, id=stored)))
        return stored


class OverwritesIds(Faulty):
    def insert(self, op: PutMemory) -> Row:
        self.tables.rows.pop((self.project, op.memory.id), None)
        return super().insert(op)


class ForgetsThePast(Faulty):
    def insert(self, op: PutMemory) -> Row:
        return super().insert(change(op, past=None))


class DropsSourcesOfDuplicates(Faulty):
    def put_memory(self, op: PutMemory) -> str:
        known = any(row.identity == op.identity for row in self.tables.of(self.project))
        return super().put_memory(change(op, sources=()) if known else op)


class TakesUnknownSources(Faulty):
    def put_memory(self, op: PutMemory) -> str:
        stored = super().put_memory(op)
        row = self.row(stored)
        assert row is not None
        named = {source.turn_id for source in op.sources}
        self.tables.rows[self.project, stored] = change(row, turns=row.turns | named)
        return stored


class EndsAtTheWrongTime(Faulty):
    def end(self, row: Row, end: float, by_id: str, at: float) -> None:
        super().end(row, at, by_id, at)


class EndsBeforeTheBeginning(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        super().supersede(old_id, op, by_id)
        row = self.row(old_id)
        if row is not None and row.memory.valid_to is not None:
            end = memory_tables.begins(op.memory)
            self.write(change(row, memory=change(row.memory, valid_to=end)))


class EndsAgain(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        row = self.row(old_id)
        if row is not None:
            self.write(change(row, memory=change(row.memory, valid_to=None)))
        super().supersede(old_id, op, by_id)


class EndsTheImmutable(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        row = self.row(old_id)
        if row is not None:
            self.write(change(row, memory=change(row.memory, immutable=False)))
        super().supersede(old_id, op, by_id)


class EndsImmutableTurns(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        super().supersede(old_id, op, by_id)
        for row in self.tables.of(self.project):
            if memory_tables.raw(row) and row.memory.immutable and row.memory.valid_to is None:
                self.end(row, op.memory.event_at, by_id, op.memory.updated_at)


class EditsTheImmutable(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        row = self.row(op.memory_id)
        if row is not None:
            memory = change(row.memory, immutable=False)
            self.tables.rows[self.project, op.memory_id] = change(row, memory=memory)
        return super().edit(op)


class EndsItself(Faulty):
    def put_memory(self, op: PutMemory) -> str:
        stored = super().put_memory(op)
        if stored in op.supersedes:
            self.supersede(stored, op.memory, stored)
        return stored


class KeepsTheIdentity(Faulty):
    def end(self, row: Row, end: float, by_id: str, at: float) -> None:
        super().end(row, end, by_id, at)
        ended = self.tables.rows[self.project, row.memory.id]
        self.tables.rows[self.project, row.memory.id] = change(ended, identity=row.identity)


class SparesTurnsBehind(Faulty):
    def end(self, row: Row, end: float, by_id: str, at: float) -> None:
        if row.memory.kind != "turn":
            super().end(row, end, by_id, at)


class EndsTurnsInUse(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        old = self.row(old_id)
        super().supersede(old_id, op, by_id)
        for row in self.tables.of(self.project):
            if old and memory_tables.raw(row) and row.turns & old.turns and not row.memory.valid_to:
                self.end(row, row.memory.event_at, by_id, op.memory.updated_at)


class EndsListedTurns(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        old = self.row(old_id)
        super().supersede(old_id, op, by_id)
        for row in self.tables.of(self.project):
            if old and row.memory.kind == "turn" and row.memory.listed and row.turns & old.turns:
                self.end(row, row.memory.event_at, by_id, op.memory.updated_at)


class SilentSupersession(Faulty):
    def log(self, event: Any, *rest: Any) -> None:
        if event != "SUPERSEDE":
            super().log(event, *rest)


class LogsTurnsThatEnd(Faulty):
    def end(self, row: Row, end: float, by_id: str, at: float) -> None:
        super().end(row, end, by_id, at)
        if row.memory.kind == "turn":
            self.log("SUPERSEDE", row.memory, (row.memory.text, None), at, None)


class KeepsTheVersion(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        found = super().edit(op)
        if found is None:
            return None
        row = self.tables.rows[self.project, op.memory_id]
        self.tables.rows[self.project, op.memory_id] = change(
            row, memory=change(found, version=found.version - 1)
        )
        return self.tables.rows[self.project, op.memory_id].memory


class ReplacesMetadata(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        found = super().edit(op)
        if found is None or op.metadata is None:
            return found
        row = self.tables.rows[self.project, op.memory_id]
        only = change(found, metadata=dict(op.metadata))
        self.tables.rows[self.project, op.memory_id] = change(row, memory=only)
        return only


class KeepsTheOldVector(Faulty):
    def edited(self, row: Row, op: EditMemory, memory: Memory) -> Row:
        return change(super().edited(row, op, memory), vector=op.vector or row.vector)


class ClearsExpiry(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        return super().edit(change(op, set_expires=True))


class LogsEveryEdit(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        found = super().edit(op)
        if found is not None and op.listed is not None:
            self.log("UPDATE", found, (found.text, found.text), op.at, None)
        return found


class InventsMemories(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        found = super().edit(op)
        if found is None:
            ghost = Memory(
                id=op.memory_id,
                text="",
                hash="",
                kind="fact",
                event_at=0,
                created_at=0,
                updated_at=0,
            )
            self.log("UPDATE", ghost, (None, op.text), op.at, None)
        return found


class AllowsTwins(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        return super().edit(change(op, identity=None))


class RemovesTooMuch(Faulty):
    def remove(self, op: RemoveMemories) -> list[str]:
        return super().remove(change(op, limit=None))


class RemovesTheNewest(Faulty):
    def remove(self, op: RemoveMemories) -> list[str]:
        rows = [row for row in self.tables.of(self.project) if matches(op.filter, row.memory)]
        self.tables.rows = dict(reversed(self.tables.rows.items()))
        gone = super().remove(op)
        self.tables.rows = dict(reversed(self.tables.rows.items()))
        return gone if rows else []


class SparesTurnMemories(Faulty):
    def with_turns(self, asked: list[Row]) -> list[Row]:
        return sorted(asked, key=lambda row: row.no)


class OneLevelOnly(Faulty):
    def with_turns(self, asked: list[Row]) -> list[Row]:
        turns = {turn_id for row in asked for turn_id in row.turns}
        return [row for row in super().with_turns(asked) if row.turns & turns or row in asked]


class KeepsRawTurns(Faulty):
    def forget_turns(self, turn_ids: set[str]) -> None:
        """A fault."""


class KeepsLinks(Faulty):
    def forget_turns(self, turn_ids: set[str]) -> None:
        for turn_id in turn_ids:
            del self.tables.turns[self.project, turn_id]

    def put_turns(self, op: PutTurns) -> None:
        """Ids are given to other turns, as row numbers are."""
        super().put_turns(op)
        orphans = {t for row in self.tables.of(self.project) for t in row.turns} - {
            id_ for project, id_ in self.tables.turns if project == self.project
        }
        new = {turn.id for turn in op.turns}
        for row in self.tables.of(self.project):
            if row.turns & orphans:
                self.tables.rows[self.project, row.memory.id] = change(row, turns=row.turns | new)


class TellsTurnsToo(Faulty):
    def remove(self, op: RemoveMemories) -> list[str]:
        before = {row.memory.id for row in self.tables.of(self.project)}
        super().remove(op)
        return sorted(before - {row.memory.id for row in self.tables.of(self.project)})


class DeletesSilently(Faulty):
    def log(self, event: Any, *rest: Any) -> None:
        if event != "DELETE":
            super().log(event, *rest)


class ForgetsWhoseItWas(Faulty):
    def log(self, event: Any, memory: Memory, *rest: Any) -> None:
        super().log(event, change(memory, agent_id=None, listed=True), *rest)


class ForgetsOriginsOfAdds(Faulty):
    def insert(self, op: PutMemory) -> Row:
        return super().insert(change(op, origin=None))


class ForgetsOriginsOfEdits(Faulty):
    def edit(self, op: EditMemory) -> Memory | None:
        return super().edit(change(op, origin=None))


class ForgetsOriginsOfEnds(Faulty):
    def supersede(self, old_id: str, op: PutMemory, by_id: str) -> None:
        super().supersede(old_id, change(op, origin=None), by_id)


class ForgetsOriginsOfDeletions(Faulty):
    def remove(self, op: RemoveMemories) -> list[str]:
        return super().remove(change(op, origin=None))


class LeavesWhatWasDeletedBefore(Faulty):
    def deleted_before(self, of: Filter) -> set[str]:
        return set()


class BlanksOthersWithIt(Faulty):
    """By any filter, and whatever else it asks for than the first entity."""

    def deleted_before(self, of: Filter) -> set[str]:
        return super().deleted_before(Everything())


class KeepsTextsInHistory(Faulty):
    def blank(self, memory_ids: set[str]) -> None:
        """A fault."""


class BlanksEverybody(Faulty):
    def blank(self, memory_ids: set[str]) -> None:
        super().blank({event.memory_id for event in self.tables.history[self.project]})


class OverwritesVectors(Faulty):
    def set_vectors(self, op: SetVectors) -> None:
        for memory_id, vector in op.vectors:
            if row := self.row(memory_id):
                self.write(change(row, vector=vector))


class ForgetsKeys(Faulty):
    def put_job(self, job: Job) -> None:
        super().put_job(change(job, idempotency_key=None))


class OverwritesJobs(Faulty):
    def put_job(self, job: Job) -> None:
        self.tables.jobs.pop((self.project, job.id), None)
        super().put_job(job)


class TakesForeignJobs(Faulty):
    def put_job(self, job: Job) -> None:
        self.project, mine = job.project, self.project
        super().put_job(job)
        self.project = mine


class FinishesAnything(Faulty):
    def finish(self, op: FinishJob) -> None:
        leased = self.tables.jobs.get((self.project, op.job_id))
        super().finish(
            op if leased is None or leased.owner is None else change(op, owner=leased.owner)
        )


class DropsResults(Faulty):
    def finish(self, op: FinishJob) -> None:
        super().finish(op)
        job = self.tables.jobs[self.project, op.job_id].job
        self.tables.jobs[self.project, op.job_id] = Leased(job=change(job, result=op.result))


class ForgetsRunAfter(Faulty):
    def finish(self, op: FinishJob) -> None:
        super().finish(change(op, run_after=0.0))


class ResetsEverybody(Faulty):
    def reset(self) -> None:
        for project in {project for project, _ in self.tables.rows}:
            self.project, mine = project, self.project
            super().reset()
            self.project = mine
        super().reset()


class KeepsHistoryAtReset(Faulty):
    def reset(self) -> None:
        history = dict(self.tables.history)
        super().reset()
        self.tables.history = history


class ForgetsResets(Faulty):
    def reset(self) -> None:
        super().reset()
        del self.tables.reset_at[self.project]


class SparesGenerations(Faulty):
    def touch(self, memory: Memory) -> None:
        if memory.valid_to is None:
            super().touch(memory)


class SparesGenerationsAtFills(Faulty):
    def set_vectors(self, op: SetVectors) -> None:
        touched = dict(self.touched)
        super().set_vectors(op)
        self.touched = touched


class DisturbsOthers(Faulty):
    def record(self) -> None:
        for project, entity in list(self.tables.written):
            if project == self.project:
                self.touched[entity] = None
        super().record()


class ForgetsWhen(Faulty):
    def record(self) -> None:
        before = dict(self.tables.written)
        super().record()
        for key, when in self.tables.written.items():
            if when != before.get(key):
                self.tables.written[key] = change(when, created_at=self.at, updated_at=self.at)
