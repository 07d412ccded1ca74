"""An index in Postgres, with its extension pgvector: points and their words in two tables.

A search is one statement that finds by vector, and one that finds by words; each takes one round
trip, with the settings of its transaction before it. The project is set for row-level security,
which stands behind the conditions of the statements as a second fence.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from holdfast.backends.pgvector.settings import EF_SEARCH_MAX, PgVectorSettings
from holdfast.config import Part, part_settings
from holdfast.core.points import direction
from holdfast.errors import ClosedError, ConfigError, MissingExtraError
from holdfast.model import ANY, Entity, OnProgress, Project, Space
from holdfast.ports import Match, Point, TermMatches, Vectors

try:
    from psycopg.abc import AdaptContext

    from holdfast.backends.pgvector import points as rows
    from holdfast.backends.pgvector.connect import (
        Connection,
        Connections,
        check_url,
        translation,
    )
    from holdfast.backends.pgvector.graph import Maker, standing
    from holdfast.backends.pgvector.schema import Shape, prepare
    from holdfast.backends.pgvector.statements import FENCE, SETTINGS, Names, Statements
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "The index pgvector needs the packages psycopg and psycopg-pool.",
        hint="pip install 'holdfast[postgres]'.",
    ) from error

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,56}")
"""Names of collections and schemas. Postgres cuts names of more than 63 bytes, and the table of
words has one that is longer by six."""
_PUT_POINTS_MAX: Final = 256
"""Points written in one transaction."""
_DRAIN_POINTS_MAX: Final = 2_000
"""Points of a project forgotten in one transaction."""
_KEY_BITS: Final = 47
"""Of an advisory lock taken once; records in the same database have locks with higher keys."""


def build(part: Part, collection: str) -> Vectors:
    """The collection in the configured database; nothing is connected yet.

    Raises ConfigError.
    """
    settings = part_settings(PgVectorSettings, part, "index")
    check_url(settings.url, "index.config.url")
    for place, name in (("schema", settings.schema), ("collection", collection)):
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"index: {name[:64]!r} cannot be the name of a {place} in Postgres.",
                hint="Up to 57 letters, digits, '_', '-' and '.'.",
            )
    if settings.ef_construction < 2 * settings.m:
        raise ConfigError(
            "index.config.ef_construction: it must be at least twice m.",
            hint=f"Set it to {2 * settings.m} or more.",
        )
    return PgVectors(settings, collection)


class PgVectors:
    """`ports.Vectors` in Postgres. Entities are stored as hashes, ids of memories as they are."""

    settles_s = 0.0

    def __init__(self, settings: PgVectorSettings, collection: str) -> None:
        self.name = f"pgvector {collection}"
        self._settings = settings
        self._names = Names(settings.schema, collection)
        self._connections = Connections(settings, self.name)
        self._open: tuple[Statements, int] | None = None

    async def open(self, space: Space) -> None:
        settings = self._settings
        shape = Shape(
            names=self._names,
            name=self.name,
            kind="vector" if settings.precision == "full" else "halfvec",
            dimensions=space.dimensions,
            hnsw=None if settings.mode == "exact" else (settings.m, settings.ef_construction),
        )
        connection = await self._connections.single()
        try:
            with translation(self.name):
                statements = await prepare(connection, shape)
        finally:
            await connection.close()
        await self._connections.start()
        self._open = (statements, space.dimensions)

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        statements, dimensions = self._made()
        for some in _portions(points, _PUT_POINTS_MAX):
            told = rows.parameters(project, some, dimensions)
            await self._run(project, statements.put, told)

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        statements, _ = self._made()
        for some in _portions(sorted(set(ids)), _DRAIN_POINTS_MAX):
            await self._run(project, statements.remove, {"project": project, "ids": list(some)})

    async def write(
        self,
        connection: Connection,
        project: Project,
        points: Sequence[Point],
        removed: Sequence[str],
    ) -> None:
        """`put` and `remove` in the transaction that `connection` is in, and with it alone.

        For records in the same database. Raises errors of psycopg: the transaction is its owner's.
        """
        cursor = connection.cursor()
        rows.register(cursor)
        async with connection.pipeline():
            for statement, told in self.writing(project, points, removed):
                await cursor.execute(statement, told)

    def writing(
        self,
        project: Project,
        points: Sequence[Point],
        removed: Sequence[str],
        *,
        emptied: bool = False,
    ) -> list[tuple[str, dict[str, Any]]]:
        """The statements of `write` with their parameters, for cursors that `register` has seen.

        `emptied`: whatever else the project has is removed. Raises ClosedError,
        SpaceMismatchError, ValidationError.
        """
        statements, dimensions = self._made()
        own = {"project": project}
        told: list[tuple[str, dict[str, Any]]] = [(FENCE, own)]
        if emptied:
            told += [(statement, own) for statement in statements.empty]
        for some in _portions(points, _PUT_POINTS_MAX):
            values = rows.parameters(project, some, dimensions)
            told += [(statement, values) for statement in statements.put]
        if removed:
            gone = {**own, "ids": list(removed)}
            told += [(statement, gone) for statement in statements.remove]
        return told

    def register(self, context: AdaptContext) -> None:
        """Teach a connection or cursor to send what `writing` gives."""
        rows.register(context)

    async def lives_with(self, connection: Connection) -> bool:
        """Whether `connection` is to the database that the collection is in, and its user may
        write the collection. Raises errors of psycopg, IndexUnavailableError.

        A lock taken there and seen here is proof: copies of a server have its identifier too.
        """
        statements, _ = self._made()
        key = {"key": secrets.randbits(_KEY_BITS)}
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%(key)s::bigint)", key)
            locked = "SELECT NOT pg_try_advisory_xact_lock(%(key)s::bigint)"
            if await self._run(None, [locked], key) != [(True,)]:
                return False
            cursor = await connection.execute(statements.writable)
            return await cursor.fetchone() == (True,)

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        statements, dimensions = self._made()
        wanted = direction(vector, dimensions)
        if wanted is None or limit < 1:
            return []
        told = {
            "project": project,
            "entity": rows.entity_key(entity.id),
            "vector": rows.Reals(wanted),
            "limit": limit,
        }
        which = (rows.column(entity), entity.id == ANY)
        if self._settings.mode != "exact":
            found = await self._run(
                project, [statements.nearest(*which)], {**told, **self._enough(limit)}, limit
            )
            graph, size = found[0][:2]
            hits = [(id_, distance) for _, _, id_, distance in found if id_ is not None]
            if not graph or len(hits) == min(limit, size):
                return _matches(hits)
            # the graph was followed as far as allowed, and the page is not full
        return _matches(await self._run(project, [statements.exact(*which)], told))

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        statements, _ = self._made()
        if not terms:
            return []
        forms = [",".join(str(rows.signed(term)) for term in word) for word in terms]
        told = {
            "project": project,
            "entity": rows.entity_key(entity.id),
            "words": [f"{{{each}}}" for each in forms],
            "limit": max(1, limit),
        }
        statement = statements.holders(rows.column(entity), entity.id == ANY)
        found: list[list[Match]] = [[] for _ in terms]
        counts = [0] * len(terms)
        for number, id_, score, having in await self._run(project, [statement], told):
            found[number - 1].append(Match(id=id_, score=score))
            counts[number - 1] = having
        return [
            TermMatches(
                matches=tuple(sorted(each, key=lambda match: -match.score)[: max(0, limit)]),
                rows=count,
            )
            for each, count in zip(found, counts, strict=True)
        ]

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        statements, _ = self._made()
        told = {"project": project, "after": after, "size": size + 1}
        found = await self._run(project, [statements.marks(after is None)], told)
        page = [(id_, mark) for id_, mark in found[:size]]
        return page, page[-1][0] if page and len(found) > size else None

    async def count(self, project: Project | None) -> int:
        statements, _ = self._made()
        statement = statements.count(project is None)
        ((number,),) = await self._run(project, [statement], {"project": project})
        return int(number)

    async def clear(self, project: Project | None) -> None:
        statements, _ = self._made()
        if project is None:
            await self._run(None, [statements.drop], {})
            return

        async def drain(connection: Connection) -> int:
            async with connection.transaction():
                await connection.execute(SETTINGS, self._bounds(project))
                told: dict[str, Any] = {"project": project, "size": _DRAIN_POINTS_MAX}
                cursor = await connection.execute(statements.some, told)
                told["ids"] = [id_ for (id_,) in await cursor.fetchall()]
                for statement in statements.remove:
                    await connection.execute(statement, told)
            return len(told["ids"])

        while await self._connections.run(drain):
            pass

    async def optimize(self, told: OnProgress | None = None) -> None:
        statements, _ = self._made()
        settings = self._settings
        if await self._ask(statements.grown) == [(True,)]:
            await self._analyze(statements)
        if settings.mode != "exact":
            create = statements.create_hnsw(settings.m, settings.ef_construction)
            maker = Maker(self._connections, self._ask, statements, self.name, create)
            await maker.make(self._least, told)

    async def optimizing(self) -> int | None:
        statements, _ = self._made()
        return (await standing(self._ask, statements, self._least)).done_or_none

    @property
    def _least(self) -> int:
        """Points from which on a graph can be of use."""
        return 1 if self._settings.mode == "hnsw" else self._settings.hnsw_rows_min

    async def _analyze(self, statements: Statements) -> None:
        connection = await self._connections.single()
        try:
            with translation(self.name):
                await connection.execute("SET statement_timeout = 0")
                await connection.execute(statements.analyze)
        finally:
            await connection.close()

    async def _ask(self, statement: str, told: dict[str, Any] | None = None) -> list[Any]:
        """The rows of one statement, above the fence."""
        return await self._run(None, [statement], told or {})

    async def close(self) -> None:
        await self._connections.close()

    def _made(self) -> tuple[Statements, int]:
        """The statements and the dimensions. Raises ClosedError."""
        self._connections.alive()
        if self._open is None:
            raise ClosedError(f"{self.name} was not opened.")
        return self._open

    async def _run(
        self,
        project: Project | None,
        statements: Sequence[str],
        told: dict[str, Any],
        limit: int = 0,
    ) -> list[Any]:
        """Run statements in one transaction and one round trip; the rows of the last.

        `limit`: how many are wanted of a graph. Without a project nothing is fenced off.
        """
        bounds = self._bounds(project, limit)

        async def work(connection: Connection) -> list[Any]:
            # what is sent before the end of a pipeline is one transaction
            async with connection.pipeline():
                await connection.execute(SETTINGS, bounds)
                for statement in statements:
                    cursor = await connection.execute(statement, told)
            return await cursor.fetchall() if cursor.description else []

        return await self._connections.run(work)

    def _enough(self, limit: int) -> dict[str, float]:
        """From which size of an entity on the graph is followed; see `Statements.nearest`."""
        if self._settings.mode == "hnsw":
            return {"compared": 0, "share": 0.0}
        return {
            "compared": self._settings.hnsw_rows_min - 1,
            "share": limit / self._settings.max_scan_tuples,
        }

    def _bounds(self, project: Project | None, limit: int = 0) -> dict[str, str]:
        """What a transaction is bound to; see `SETTINGS`."""
        settings = self._settings
        return {
            "project": project or "",
            "reach": "" if project is not None else "all",
            "timeout": f"{max(1, round(settings.statement_timeout_s * 1_000))}ms",
            "scan": str(settings.max_scan_tuples),
            "ef": str(min(EF_SEARCH_MAX, max(settings.ef_search, limit))),
        }


def _matches(found: Sequence[tuple[str, float]]) -> list[Match]:
    """The nearest first."""
    hits = [Match(id=id_, score=-distance) for id_, distance in found]
    return sorted(hits, key=lambda match: -match.score)


def _portions(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
