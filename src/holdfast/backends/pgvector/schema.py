"""Making a collection in Postgres, or checking that it is ours and fits."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from psycopg import errors

from holdfast.backends.pgvector.connect import Connection
from holdfast.backends.pgvector.statements import Names, Statements
from holdfast.errors import ConfigError, SpaceMismatchError

_FORMAT: Final = 1
"""Of the tables; part of the mark that says that they are ours."""
_EXTENSION_MIN: Final = (0, 8)
"""Older ones have no iterative scans, so that a filtered search could return half a page."""
_HNSW_DIMENSIONS_MAX: Final = {"vector": 2_000, "halfvec": 4_000}
_DIMENSIONS_MAX: Final = 16_000
_MAKING_LOCKS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('holdfast index', 0))"


@dataclass(frozen=True)
class Shape:
    """What a collection is to be; `hnsw`: (m, ef_construction) of its index, None without one."""

    names: Names
    name: str
    """Of the collection, for people."""
    kind: str
    """vector or halfvec."""
    dimensions: int
    hnsw: tuple[int, int] | None

    @property
    def mark(self) -> str:
        """The comment by which a table is known as ours."""
        told = {"holdfast": _FORMAT, "kind": self.kind, "dimensions": self.dimensions}
        return json.dumps(told)


def check_dimensions(shape: Shape) -> None:
    """Raises ConfigError for vectors that the type, or its index, does not take."""
    most = _DIMENSIONS_MAX if shape.hnsw is None else _HNSW_DIMENSIONS_MAX[shape.kind]
    if shape.dimensions <= most:
        return
    wider = "precision: half (up to 4,000), or " if shape.kind == "vector" else ""
    hint = f"Set {wider}mode: exact (up to 16,000)." if shape.hnsw else "Choose another index."
    raise ConfigError(
        f"{shape.name}: vectors of {shape.dimensions} dimensions are too long for this index of"
        f" pgvector, which takes up to {most:,}.",
        hint=hint,
    )


async def prepare(connection: Connection, shape: Shape) -> Statements:
    """Make or check the collection in one transaction; its statements.

    Raises ConfigError, SpaceMismatchError, errors of psycopg.
    """
    check_dimensions(shape)
    async with connection.transaction():
        # two that make the same at once would trip over each other
        await connection.execute(_MAKING_LOCKS)
        await connection.execute("SELECT set_config('statement_timeout', '0', true)")
        await _check_encoding(connection, shape)
        vendor = await _extension(connection, shape)
        statements = Statements(shape.names, vendor, shape.kind, shape.dimensions)
        await _tables(connection, shape, statements)
    return statements


async def _check_encoding(connection: Connection, shape: Shape) -> None:
    cursor = await connection.execute("SELECT current_setting('server_encoding')")
    row = await cursor.fetchone()
    if row != ("UTF8",):
        raise ConfigError(
            f"{shape.name}: the database is not in UTF8, so that it cannot hold every id.",
            hint="Make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0.",
        )


async def _extension(connection: Connection, shape: Shape) -> str:
    """The schema of pgvector, which is installed if need be."""
    found = await _installed(connection)
    if found is None:
        try:
            async with connection.transaction():
                await connection.execute("CREATE EXTENSION vector")
        except errors.InsufficientPrivilege:
            raise ConfigError(
                f"{shape.name}: this user of Postgres may not install the extension vector.",
                hint="Let an administrator run CREATE EXTENSION vector in this database.",
            ) from None
        except (errors.UndefinedFile, errors.FeatureNotSupported):
            raise ConfigError(
                f"{shape.name}: this Postgres does not have pgvector.",
                hint="Install pgvector 0.8 or newer on its server.",
            ) from None
        found = await _installed(connection)
    if found is None:
        raise ConfigError(f"{shape.name}: pgvector was installed, and is not there.")
    vendor, version = found
    if _numbers(version) < _EXTENSION_MIN:
        raise ConfigError(
            f"{shape.name}: pgvector {version} is too old; 0.8 is the first that fits.",
            hint="Install a newer one and run ALTER EXTENSION vector UPDATE.",
        )
    return vendor


async def _installed(connection: Connection) -> tuple[str, str] | None:
    """Schema and version of pgvector."""
    cursor = await connection.execute(
        "SELECT nspname, extversion FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace"
        " WHERE extname = 'vector'"
    )
    return await cursor.fetchone()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


async def _tables(connection: Connection, shape: Shape, statements: Statements) -> None:
    names = shape.names
    cursor = await connection.execute(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class"
        " WHERE oid = ANY(ARRAY[to_regclass(%s), to_regclass(%s)]::oid[]) ORDER BY relname",
        (names.points, names.words),
    )
    found = [comment for (comment,) in await cursor.fetchall()]
    if not found:
        comment = [f"COMMENT ON TABLE {names.points} IS '{shape.mark}'"]
        schema = [] if await _has_schema(connection, names) else [f'CREATE SCHEMA "{names.schema}"']
        await _make(connection, shape, [*schema, *statements.create, *comment])
        return
    _check_mark(found, shape)


def _check_mark(comments: list[str | None], shape: Shape) -> None:
    """Raises ConfigError for a table of somebody else, SpaceMismatchError for another space."""
    told = _mark(comments[0])
    if told is None or len(comments) != 2:
        raise ConfigError(
            f"{shape.name}: there is a table of this name that Holdfast did not make.",
            hint="Choose another collection or schema.",
        )
    if told.get("holdfast") != _FORMAT:
        raise ConfigError(
            f"{shape.name}: the collection was made by another version of Holdfast.",
            hint="Rebuild the index.",
        )
    if told.get("dimensions") != shape.dimensions:
        raise SpaceMismatchError(
            f"{shape.name} holds vectors of {told.get('dimensions')} dimensions, not of"
            f" {shape.dimensions}.",
            hint="Rebuild the index for this embedder.",
        )
    if told.get("kind") != shape.kind:
        raise ConfigError(
            f"{shape.name}: the collection keeps vectors as {told.get('kind')}, not {shape.kind}.",
            hint="Set `precision` back, or rebuild the index.",
        )


def _mark(comment: str | None) -> dict[str, Any] | None:
    try:
        told = json.loads(comment or "null")
    except ValueError:
        return None
    return told if isinstance(told, dict) and "holdfast" in told else None


async def _has_schema(connection: Connection, names: Names) -> bool:
    # first looked for: CREATE SCHEMA IF NOT EXISTS wants the right to make one, even if it is there
    cursor = await connection.execute("SELECT to_regnamespace(%s)", (f'"{names.schema}"',))
    row = await cursor.fetchone()
    return row is not None and row[0] is not None


async def _make(connection: Connection, shape: Shape, statements: list[str]) -> None:
    try:
        for statement in statements:
            await connection.execute(statement)
    except errors.InsufficientPrivilege:
        raise ConfigError(
            f"{shape.name}: this user of Postgres may not make the collection.",
            hint=f"Grant it CREATE on the database, or on a schema {shape.names.schema!r} made for"
            " it.",
        ) from None
