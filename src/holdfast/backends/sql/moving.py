"""`ports.Moving` on the record database: memories with their vectors, turns and history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.queries import JOIN_VECTOR, history, turns
from holdfast.backends.sql.rows import MEMORY_COLUMNS, memories_from
from holdfast.backends.sql.sealing import Text, opened
from holdfast.backends.sql.spaces import current
from holdfast.backends.sql.vectors import vectors_from
from holdfast.model import IndexTerms, Memory, Project, Scope, Source
from holdfast.ports import PutMemory, PutTurns
from holdfast.ports.moving import Moved

if TYPE_CHECKING:
    from holdfast.backends.sql.records import SqlRecords

_PAGE: Final = f"""
SELECT {MEMORY_COLUMNS}, m.no, m.identity, m.terms, m.flags, m.words, m.speaker, e.vector
FROM memories m {JOIN_VECTOR} WHERE m.project = ? AND m.no > ? ORDER BY m.no LIMIT ?
"""
_SOURCES: Final = """
SELECT t.id, f.quote, t.user_id, t.agent_id, t.app_id, t.run_id
FROM sources f JOIN messages t ON t.no = f.message_no WHERE f.memory_no = ? ORDER BY t.no
"""
_NUMBER: Final = len(MEMORY_COLUMNS.split(","))
"""The place of the memory's number in a row of _PAGE."""


class SqlMoving:
    """Reads whole memories."""

    def __init__(self, records: SqlRecords) -> None:
        self._records = records

    async def projects(self) -> Mapping[Project, int]:
        return await self._records.indexing.sizes()

    async def page(
        self, project: Project, after: int, size: int
    ) -> tuple[Sequence[Moved], int | None]:
        return await self._records.read(project, lambda c: page(c, project, after, size))


def page(
    connection: Connection, project: Project, after: int, size: int
) -> tuple[list[Moved], int | None]:
    """`Moving.page` in one snapshot. Raises KeyNeeded, CorruptError."""
    now = current(connection)
    rows = connection.execute(_PAGE, (project, after, size)).fetchall()
    memories = memories_from(connection, project, rows)
    stored = [(row[0], row[4:8], now.space_no, row[-1]) for row in rows]
    vectors = vectors_from(connection, project, stored, now.dimensions)
    found = [
        _moved(connection, project, memory, row, vector)
        for memory, row, vector in zip(memories, rows, vectors, strict=True)
    ]
    return found, rows[-1][_NUMBER] if len(rows) == size else None


def _moved(
    connection: Connection, project: Project, memory: Memory, row: Sequence[Any], vector: Any
) -> Moved:
    number, identity, terms, flags, words, speaker = row[_NUMBER : _NUMBER + 6]
    sources, puts = _sources(connection, project, memory, number)
    put = PutMemory(
        memory=memory,
        identity=identity,
        terms=IndexTerms(terms=terms, flags=flags, words=words, speaker=speaker),
        vector=vector,
        sources=sources,
        past=tuple(history(connection, project, memory.id)),
    )
    return Moved(turns=puts, put=put)


def _sources(
    connection: Connection, project: Project, memory: Memory, number: int
) -> tuple[tuple[Source, ...], tuple[PutTurns, ...]]:
    rows = connection.execute(_SOURCES, (number,)).fetchall()
    ids = (memory.user_id, memory.agent_id, memory.app_id, memory.run_id)
    stored = [Text(f"{memory.id} {row[0]}", ids, row[1] or None) for row in rows]
    quotes = opened(connection, project, "sources", "quote", stored)
    told = {turn.id: turn for turn in turns(connection, project, [row[0] for row in rows])}
    puts = tuple(
        PutTurns(
            scope=Scope(user_id=row[2], agent_id=row[3], app_id=row[4], run_id=row[5]),
            turns=(told[row[0]],),
        )
        for row in rows
    )
    sources = tuple(
        Source(turn_id=row[0], quote=quote or "") for row, quote in zip(rows, quotes, strict=True)
    )
    return sources, puts
