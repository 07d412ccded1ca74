"""How SQLAlchemy writes our tables for Postgres; only upgrades and tools import this.

Whole numbers have 64 bits and texts are ordered by code point, as in SQLite. Every table with a
project has a policy of row-level security, which holds for the tables' owner too.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, StaticPool, Table, create_engine, inspect, text
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.schema import CreateIndex, CreateTable

from holdfast.backends.postgres.migrate import VERSION_TABLE

_COLUMN: Final = "project"

_POLICY: Final = """
CREATE POLICY {name}_of_project ON {name} USING (
	project = (SELECT current_setting('holdfast.project', true))
	OR (SELECT current_setting('holdfast.reach', true)) = 'all'
)
""".strip()

GENERATIONS: Final = "CREATE SEQUENCE generations"


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
    statements = [version, GENERATIONS]
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)).strip())
        statements += [
            str(CreateIndex(index).compile(dialect=dialect)).strip()
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
    for table in metadata.sorted_tables:
        statements += fence(table)
    return statements


def fence(table: Table) -> list[str]:
    """The statements that hide a table's rows from other projects; none without a project.

    The settings are read once a statement, for they stand in subqueries.
    """
    if _COLUMN not in table.columns:
        return []
    name = table.name
    return [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        _POLICY.format(name=name),
    ]


def run_migrations(connection: psycopg.Connection[Any], revision: str) -> None:
    """Alembic's migrations in one transaction, and fences for the tables that are new."""
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    engine.dialect.type_compiler_instance = _Types(engine.dialect)
    engine.dialect.ddl_compiler = _Statements
    with engine.begin() as bound:
        config = Config()
        config.set_main_option("script_location", "holdfast.backends:migrations")
        config.attributes["connection"] = bound
        config.attributes["version_table"] = VERSION_TABLE
        command.upgrade(config, revision)
        _fence_new(bound)


def _fence_new(bound: Connection) -> None:
    known = set(bound.execute(text("SELECT tablename FROM pg_policies")).scalars())
    for name in inspect(bound).get_table_names():
        if name not in known:
            for statement in fence(Table(name, MetaData(), autoload_with=bound)):
                bound.execute(text(statement))
