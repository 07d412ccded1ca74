"""What a group of commits puts, turns, memories and jobs: written many rows to a statement.

Nothing is written as it is put, but at a `flush`, which comes before anything else looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.backends.sql import queue
from holdfast.backends.sql.changes import Changes
from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import Row, insert, insert_all, parts
from holdfast.backends.sql.rows import (
    INSERT_EMBEDDING,
    INSERT_HISTORY,
    INSERT_MEMORY,
    INSERT_MESSAGE,
    INSERT_SOURCE,
    entity_ids,
    event_values,
    history_values,
    memory_values,
    message_values,
    quote_value,
)
from holdfast.backends.sql.spaces import Current
from holdfast.backends.sql.vectors import Vectors
from holdfast.clock import Ids
from holdfast.errors import ConflictError
from holdfast.model import Job, Project, Source
from holdfast.ports import PutMemory, PutTurns

TurnKey = tuple[Project, str]

_LINK: Final = """
INSERT INTO sources (memory_no, message_no, quote)
SELECT ?, no, ? FROM messages WHERE project = ? AND id = ? ON CONFLICT DO NOTHING
"""


class Put:
    """A memory that is put. When it is flushed, `no` and `stored_id` tell where it is stored."""

    __slots__ = ("changes", "is_new", "no", "op", "place", "stored_id")

    def __init__(self, op: PutMemory, changes: Changes, place: int) -> None:
        """`place`: how many memories were put before it."""
        self.op = op
        self.changes = changes
        self.place = place
        self.no = 0
        self.stored_id = ""
        self.is_new = False


class Puts:
    """What was put and is not written yet, in order."""

    def __init__(self, connection: Connection, current: Current | None, ids: Ids) -> None:
        self._connection = connection
        self._current = current
        self._ids = ids
        self._turns: dict[TurnKey, Row] = {}
        self._memories: list[Put] = []
        self._jobs: list[tuple[int, Job]] = []
        """With how many memories were put before each."""
        self._missed: set[TurnKey] = set()
        """Turns that memories name, and that were not put before them."""

    def turns(self, project: Project, op: PutTurns) -> None:
        """Put turns; those whose id is known are passed over."""
        if self._missed and any((project, turn.id) in self._missed for turn in op.turns):
            self.flush()  # a memory is not linked to turns that come after it
        for turn in op.turns:
            self._turns.setdefault(
                (project, turn.id), message_values(self._connection, project, op.scope, turn)
            )

    def memory(self, op: PutMemory, changes: Changes) -> Put:
        """Put a memory unless its identity is known; note what it changes."""
        put = Put(op, changes, len(self._memories))
        self._memories.append(put)
        for source in op.sources:
            key = (changes.project, source.turn_id)
            if key not in self._turns:
                self._missed.add(key)
        return put

    def job(self, job: Job) -> None:
        """Put a job."""
        self._jobs.append((len(self._memories), job))

    def flush(self) -> None:
        """Write what was put, so that statements find it.

        Raises ConflictError for an id that another memory or job has, ReplayedError for an
        idempotency key that another job has.
        """
        self._flush_memories()
        jobs, self._jobs = self._jobs, []
        queue.put(self._connection, [job for _, job in jobs])

    def _flush_memories(self) -> None:
        if not self._turns and not self._memories:
            return
        turns, puts = self._turns, self._memories
        self._turns, self._memories, self._missed = {}, [], set()
        dialect = self._connection.dialect
        memory_nos, turn_nos = dialect.numbers(self._connection, len(puts), len(turns))
        numbers = self._write_turns(turns, turn_nos)
        self._write_memories(puts, memory_nos)
        new = [put for put in puts if put.is_new]
        self._write_beside(new)
        self._link_new(new, numbers)
        for put in puts:
            if not put.is_new:
                self._link(put)

    def _write_turns(self, turns: dict[TurnKey, Row], free: Sequence[int]) -> dict[TurnKey, int]:
        """The numbers of turns, unless some that were put with them are known."""
        numbers: dict[TurnKey, int] = {}
        keys = list(turns)
        rows = [(no, *row) for no, row in zip(free, turns.values(), strict=True)]
        for part in parts(len(rows)):
            some = rows[part]
            if insert(self._connection, INSERT_MESSAGE, some).rowcount == len(some):
                numbers.update(zip(keys[part], (row[0] for row in some), strict=True))
        return numbers

    def _write_memories(self, puts: Sequence[Put], free: Sequence[int]) -> None:
        for no, put in zip(free, puts, strict=True):
            put.no = no
        for part in parts(len(puts)):
            some = puts[part]
            rows = [
                (put.no, *memory_values(self._connection, put.changes.project, put.op))
                for put in some
            ]
            all_new = insert(self._connection, INSERT_MEMORY, rows).rowcount == len(some)
            for put in some:
                if all_new:
                    put.is_new, put.stored_id = True, put.op.memory.id
                else:
                    self._find(put)

    def _find(self, put: Put) -> None:
        """Where it is stored: its identity may be known. It is not if its id is what was taken."""
        found = self._connection.execute(
            "SELECT no, id FROM memories WHERE project = ? AND identity = ?",
            (put.changes.project, put.op.identity),
        ).fetchone()
        if found is None:
            # operations are refused in order: a job that came before may be what is wrong
            queue.put(self._connection, [job for place, job in self._jobs if place <= put.place])
            raise ConflictError(
                f"The memory id {put.op.memory.id} is another memory's.",
                hint="Use a new id; nothing was changed.",
            )
        no, put.stored_id = found
        put.is_new, put.no = no == put.no, no

    def _write_beside(self, new: Sequence[Put]) -> None:
        """The vectors and the history of new memories."""
        vectors: list[Row] = []
        history: list[Row] = []
        for put in new:
            memory, project = put.op.memory, put.changes.project
            if self._current is not None:
                at = Vectors(self._connection, project, memory, put.no)
                vectors += at.rows(self._current, put.op.vector, put.op.shadow)
            history += self._history(project, put.op)
            put.changes.note(entity_ids(memory), put.no, memory.id, grows=1)
        insert_all(self._connection, INSERT_EMBEDDING, vectors)
        insert_all(self._connection, INSERT_HISTORY, history)

    def _history(self, project: Project, op: PutMemory) -> list[Row]:
        """That it is put, or what it brings with it."""
        if op.past is not None:
            return [event_values(self._connection, project, event) for event in op.past]
        texts = (None, op.memory.text)
        event = ("ADD", op.memory, texts, None, self._ids.new(), op.origin)
        return [history_values(self._connection, project, *event)]

    def _link_new(self, new: Sequence[Put], numbers: dict[TurnKey, int]) -> None:
        links: list[Row] = []
        for put in new:
            keys = [(put.changes.project, source.turn_id) for source in put.op.sources]
            if all(key in numbers for key in keys):
                pairs = zip(keys, put.op.sources, strict=True)
                links += [(put.no, numbers[key], self._quote(put, source)) for key, source in pairs]
            else:
                self._link(put)
        insert_all(self._connection, INSERT_SOURCE, links)

    def _quote(self, put: Put, source: Source) -> str:
        project = put.changes.project
        return quote_value(self._connection, put.op, project, source, put.stored_id)

    def _link(self, put: Put) -> None:
        """Look its turns up; a memory that gets a new link has changed."""
        links = sum(
            self._connection.execute(
                _LINK, (put.no, self._quote(put, source), put.changes.project, source.turn_id)
            ).rowcount
            for source in put.op.sources
        )
        if links:
            put.changes.note(entity_ids(put.op.memory), put.no, put.stored_id)
