"""How SQLAlchemy writes our tables for Postgres; only upgrades and tools import this.

Whole numbers have 64 bits and texts are ordered by code point, as in SQLite. Every table with a
project has a policy of row-level security, which holds for the tables' owner too; where SQLite has
none, Postgres has one all the same (`ownership`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, StaticPool, Table, create_engine, text
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from holdfast.backends.postgres.migrate import VERSION_TABLE
from holdfast.backends.postgres.ownership import COLUMN, MINE, NUMBERED, OWNED

_POLICY: Final = """
CREATE POLICY {name}_of_project ON {name} USING (
	{column} = (SELECT current_setting('holdfast.project', true))
	OR (SELECT current_setting('holdfast.reach', true)) = 'all'
)
""".strip()

_UNFENCED: Final = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
  AND a.attname = 'project' AND NOT a.attisdropped
  AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)
"""

# What only Postgres has: numbers that no row has to be locked for, and what each writer did last.
OWN: Final = (
    "CREATE SEQUENCE generations",
    """
CREATE TABLE commits (
	writer TEXT COLLATE "C" NOT NULL,
	project TEXT COLLATE "C" NOT NULL,
	token TEXT COLLATE "C" NOT NULL,
	at DOUBLE PRECISION NOT NULL,
	PRIMARY KEY (writer, project)
) WITH (fillfactor = 50)
""".strip(),
)


class _Types(PGTypeCompiler):
    def visit_INTEGER(self, type_: Any, **kw: Any) -> str:  # noqa: N802
        return "BIGINT"

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:  # noqa: N802
        return 'TEXT COLLATE "C"'

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:  # noqa: N802
        return "DOUBLE PRECISION"


class _Statements(PGDDLCompiler):
    def get_column_specification(self, column: Any, **kw: Any) -> str:
        written: str = super().get_column_specification(column, **kw)  # type: ignore[no-untyped-call]
        return written.replace(" SERIAL", " BIGSERIAL")


class Dialect(PGDialect_psycopg):
    """Postgres, with our types."""

    type_compiler_cls = _Types
    ddl_compiler = _Statements
    supports_statement_cache = True


def script(metadata: MetaData) -> list[str]:
    """Every statement that creates the tables, and fences them."""
    dialect = Dialect()  # type: ignore[no-untyped-call]
    version = f"CREATE TABLE {VERSION_TABLE} (\n\tversion_num TEXT NOT NULL PRIMARY KEY\n)"
    statements = [version, *OWN]
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)).strip())
        statements += [
            str(CreateIndex(index).compile(dialect=dialect)).strip()
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
    for table in metadata.sorted_tables:
        statements += _with_project(table)
        if COLUMN in table.columns or table.name in OWNED:
            statements += fence(table.name)
    statements += [*fence("commits"), *fence("projects", "id")]
    return statements


def _with_project(table: Table) -> list[str]:
    """What Postgres has beyond SQLite: a project in these rows, and in the keys of large tables.

    It stands behind what rows are found by; whoever distributes tables by it needs it there.
    """
    if table.name not in (*OWNED, *NUMBERED):
        return []
    key = ", ".join([*(column.name for column in table.primary_key), COLUMN])
    change = [f"DROP CONSTRAINT {table.name}_pkey", f"ADD PRIMARY KEY ({key})"]
    if table.name in OWNED:
        change.insert(0, f'ADD COLUMN {COLUMN} TEXT COLLATE "C" NOT NULL DEFAULT {MINE}')
    return [f"ALTER TABLE {table.name}\n\t" + ",\n\t".join(change)]


def fence(table: str, column: str = COLUMN) -> list[str]:
    """The statements that hide the rows of a table with a project from other projects.

    The settings are read once a statement, for they stand in subqueries.
    """
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        _POLICY.format(name=table, column=column),
    ]


def run_migrations(connection: psycopg.Connection[Any], revision: str) -> None:
    """Alembic's migrations in one transaction, and fences for the tables that are new."""
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    engine.dialect.type_compiler_instance = _Types(engine.dialect)
    engine.dialect.ddl_compiler = _Statements
    with _as_psycopg(), engine.begin() as bound:
        config = Config()
        config.set_main_option("script_location", "holdfast.backends:migrations")
        config.attributes["connection"] = bound
        config.attributes["version_table"] = VERSION_TABLE
        command.upgrade(config, revision)
        _fence_new(bound)


@contextmanager
def _as_psycopg() -> Iterator[None]:
    """Raise psycopg's own errors instead of SQLAlchemy's around them."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from None


def _fence_new(bound: Connection) -> None:
    for name in bound.execute(text(_UNFENCED)).scalars().all():
        for statement in fence(name):
            bound.execute(text(statement))
