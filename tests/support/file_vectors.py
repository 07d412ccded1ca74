"""An engine in a file: several processes share it, and it survives them. For tests only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from holdfast.backends.memory.vectors import Collection, Engine, MemoryVectors
from holdfast.config import Part
from holdfast.errors import IndexUnavailableError
from holdfast.model import Entity, Project, Space
from holdfast.ports import Match, Point, TermMatches, Vectors

_TABLES = """
CREATE TABLE IF NOT EXISTS collections (name TEXT PRIMARY KEY, dimensions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS points (
  collection TEXT NOT NULL, project TEXT NOT NULL, id TEXT NOT NULL, point BLOB NOT NULL,
  PRIMARY KEY (collection, project, id)
);
"""


def build(part: Part, collection: str) -> Vectors:
    """An engine in the file `part.config["file"]`; away while a file with ".away" behind it is
    there."""
    return FileVectors(Path(part.config["file"]), collection)


class FileVectors:
    """Every call reads everything; what changes is written at once."""

    settles_s = 0.0

    def __init__(self, file: Path, collection: str) -> None:
        self.name = f"file:{collection}"
        self._file = file
        self._collection = collection
        self._memory = MemoryVectors(Engine(), collection)

    def _connect(self) -> sqlite3.Connection:
        if self._file.with_suffix(".away").exists():
            raise IndexUnavailableError("The file is away.", retry_after_s=0.05)
        connection = sqlite3.connect(self._file, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_TABLES)
        return connection

    async def _read(self) -> MemoryVectors:
        """The collection as it is now."""
        self._memory._alive()
        connection = self._connect()
        try:
            engine = Engine()
            rows = connection.execute(
                "SELECT dimensions FROM collections WHERE name = ?", (self._collection,)
            )
            for (dimensions,) in rows:
                engine.collections[self._collection] = Collection(dimensions)
            rows = connection.execute(
                "SELECT project, id, point FROM points WHERE collection = ?", (self._collection,)
            )
            for project, id_, point in rows:
                points = engine.collections[self._collection].points
                points[Project(project), id_] = msgspec.msgpack.decode(point, type=Point)
            return MemoryVectors(engine, self._collection)
        finally:
            connection.close()

    async def open(self, space: Space) -> None:
        memory = await self._read()
        await memory.open(space)
        connection = self._connect()
        sql = "INSERT INTO collections VALUES (?, ?) ON CONFLICT DO NOTHING"
        connection.execute(sql, (self._collection, space.dimensions))
        connection.close()

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        await (await self._read()).put(project, points)
        connection = self._connect()
        rows = [
            (self._collection, project, point.id, msgspec.msgpack.encode(point)) for point in points
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        connection.close()

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        await self._read()
        connection = self._connect()
        sql = "DELETE FROM points WHERE collection = ? AND project = ? AND id = ?"
        connection.executemany(sql, [(self._collection, project, id_) for id_ in ids])
        connection.close()

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        return await (await self._read()).nearest(project, entity, vector, limit)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        return await (await self._read()).holders(project, entity, terms, limit)

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        return await (await self._read()).marks(project, after, size)

    async def count(self, project: Project | None) -> int:
        return await (await self._read()).count(project)

    async def clear(self, project: Project | None) -> None:
        self._memory._alive()
        connection = self._connect()
        if project is None:
            connection.execute("DELETE FROM points WHERE collection = ?", (self._collection,))
            connection.execute("DELETE FROM collections WHERE name = ?", (self._collection,))
        else:
            sql = "DELETE FROM points WHERE collection = ? AND project = ?"
            connection.execute(sql, (self._collection, project))
        connection.close()

    async def close(self) -> None:
        await self._memory.close()
