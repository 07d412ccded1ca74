"""Creating and upgrading the tables in Postgres, whole or not at all.

New tables come from `schema.sql`, generated from `backends.schema` like SQLite's; only upgrades
load Alembic, on a connection of their own.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import resources
from typing import Any, Final

import psycopg

from holdfast.backends.postgres.errors import translate
from holdfast.backends.postgres.locks import MIGRATION, SPACE
from holdfast.backends.postgres.pool import Raw
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.errors import ConfigError, CorruptError, SchemaTooNewError, StoreReadOnlyError

_log = logging.getLogger("holdfast")

VERSION_TABLE: Final = "holdfast_version"
"""Not Alembic's usual name: the database may be another program's as well."""

REVISIONS: Final = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012",
    "0013", "0014", "0015", "0016",
)  # fmt: skip
"""Every released revision, oldest first; a test compares it with the migrations."""

_SURROUNDINGS: Final = """
SELECT current_setting('server_encoding'), current_schema(), pg_is_in_recovery(),
       (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
"""

_TABLES: Final = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
"""


async def prepare(raw: Raw, settings: PostgresSettings) -> bool:
    """Bring the tables to the newest revision; whether row-level security binds this user.

    Several instances may call this at once: the first does the work, the others find it done.

    Raises ConfigError for a database that cannot be used, SchemaTooNewError if a newer Holdfast
    wrote it, StoreReadOnlyError for a standby; nothing was changed then.
    """
    with translate():
        encoding, schema, standby, above = await _row(raw, _SURROUNDINGS)
        if encoding != "UTF8":
            raise ConfigError(
                f"The database has the encoding {encoding}, which cannot hold every text.",
                hint="Create one with ENCODING 'UTF8' TEMPLATE template0.",
            )
        if schema is None:
            raise ConfigError(
                "The search_path names no schema that is there.", hint="Create one, or mend it."
            )
        if standby:
            raise StoreReadOnlyError(
                "This Postgres is a standby.",
                hint="Name the primary, or add target_session_attrs=read-write to the URL.",
            )
        if await _revision(raw) != REVISIONS[-1]:
            await _brought_up(raw, settings)
    return not above


async def _brought_up(raw: Raw, settings: PostgresSettings) -> None:
    """Create or upgrade, one instance at a time."""
    async with raw.transaction():
        await raw.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (SPACE, MIGRATION))
        revision = await _revision(raw)
        if revision is None:
            await raw.execute(creation())
        elif revision != REVISIONS[-1]:
            _log.info("upgrading the store from schema %s to %s", revision, REVISIONS[-1])
            # on a connection of its own; this one keeps the others out meanwhile
            await asyncio.to_thread(upgrade, settings.url, REVISIONS[-1])


def creation() -> bytes:
    """The statements that make the tables, at the newest revision."""
    script = resources.files("holdfast.backends.postgres").joinpath("schema.sql").read_text()
    return f"{script}INSERT INTO {VERSION_TABLE} VALUES ('{REVISIONS[-1]}');".encode()


async def _revision(raw: Raw) -> str | None:
    """The revision of the tables; None if there are none of ours."""
    tables = {name for (name,) in await (await raw.execute(_TABLES)).fetchall()}
    if VERSION_TABLE not in tables:
        _refuse_others(tables)
        return None
    row = await _row(raw, f"SELECT max(version_num) FROM {VERSION_TABLE}")
    if row[0] is None:
        raise CorruptError(
            "The database does not say which schema it has.",
            hint="It is damaged: restore a backup; nothing was changed.",
        )
    if row[0] not in REVISIONS:
        raise SchemaTooNewError(
            f"The database has schema {row[0]!r}; this version of Holdfast knows up to "
            f"{REVISIONS[-1]}.",
            hint="Upgrade Holdfast; nothing was changed.",
        )
    return str(row[0])


def _refuse_others(tables: set[str]) -> None:
    """Tables of our names that are not ours are another program's."""
    wanted = ("memories", "messages", "entities", "history", "projects", "accounts", "sessions")
    found = sorted(tables.intersection(wanted))
    if found:
        raise ConfigError(
            f"The schema has tables of another program: {', '.join(found)}.",
            hint="Use another database, or another schema (options=-csearch_path%3Dholdfast).",
        )


async def _row(raw: Raw, sql: str) -> tuple[Any, ...]:
    row = await (await raw.execute(sql.encode())).fetchone()
    assert row is not None, "these statements answer with one row"
    return row


def upgrade(url: str, revision: str) -> None:
    """Run Alembic's migrations up to `revision` in one transaction."""
    from holdfast.backends.postgres.ddl import run_migrations

    with translate(), psycopg.connect(url) as connection:
        run_migrations(connection, revision)
