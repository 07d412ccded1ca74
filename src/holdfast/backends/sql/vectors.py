"""Vectors of memories as rows: sealed as texts are, each bound to its memory and its space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.multirow import Row
from holdfast.backends.sql.rows import entity_ids
from holdfast.backends.sql.sealing import ERASED, Ids, Text, opened, plain, sealed
from holdfast.backends.sql.spaces import Current
from holdfast.core.seal import NUMBER_BYTES
from holdfast.errors import CorruptError
from holdfast.model import Memory, Project

TABLE: Final = "embeddings"
FIELD: Final = "vector"


class Vectors(NamedTuple):
    """Makes the rows of INSERT_EMBEDDING of one memory."""

    connection: Connection
    project: Project
    memory: Memory
    """Under the id by which it is stored."""
    no: int

    def rows(self, current: Current, vector: bytes | None, shadow: bytes | None) -> list[Row]:
        """Those of its vectors in the active space and in the shadow. Raises KeyNeeded."""
        rows: list[Row] = []
        if vector is not None:
            rows.append(self.row(current.space_no, vector))
        if shadow is not None and current.shadow_no is not None:
            rows.append(self.row(current.shadow_no, shadow))
        return rows

    def row(self, space_no: int, vector: bytes) -> Row:
        """That of its vector in a space. Raises KeyNeeded."""
        at = Text(bound_row(self.memory.id, space_no), entity_ids(self.memory), vector)
        return (self.no, space_no, sealed(self.connection, self.project, TABLE, FIELD, at))


def bound_row(memory_id: str, space_no: int) -> str:
    """What tells the row of a vector apart: numbers of memories are the engine's, ids are not."""
    return f"{memory_id} {space_no}"


Stored = tuple[str, Ids, int | None, bytes | None]
"""Of a memory and a space: its id, its identities, the space's number, the vector as it is stored;
the last two are None where there is no vector."""


def vectors_from(
    connection: Connection,
    project: Project,
    rows: Iterable[Stored],
    dimensions: int | None = None,
) -> list[Any]:
    """Vectors of memories of one project, opened; None stays None, and so is an erased subject's.

    `dimensions`: of each, if it is known. Raises KeyNeeded, CorruptError, ConfigError as `opened`.
    """
    if connection.sealer is None:
        vectors = plain(connection, [row[3] for row in rows])
    else:
        stored = [
            Text("" if vector is None else bound_row(id_, space_no or 0), ids, vector)
            for id_, ids, space_no, vector in rows
        ]
        found = opened(connection, project, TABLE, FIELD, stored)
        vectors = [None if vector is ERASED else vector for vector in found]
    length = None if dimensions is None else dimensions * NUMBER_BYTES
    if length is not None and any(one is not None and len(one) != length for one in vectors):
        raise CorruptError(
            f"A vector has other than the {dimensions} dimensions of its space.",
            hint="Restore it from a backup.",
        )
    return vectors
