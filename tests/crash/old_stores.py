"""Stores of the first revision for victims to migrate, and how every revision's tables look."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from holdfast.backends.sqlite.migrate import REVISIONS
from holdfast.engine.update import UpdateRequest, update
from support.embedded import add, opened
from support.revisions import create
from tests.crash.inspection import Shape, shape


def old_store(path: Path, users: tuple[str, ...] = ("ann", "bob", "日本")) -> Path:
    """A store of the first revision in which these users have memories."""
    new = path.with_suffix(".new")
    asyncio.run(_fill(new, users))
    create(path, REVISIONS[0])
    with closing(sqlite3.connect(path)) as connection:
        _take_over(connection, new)
    new.unlink()
    return path


def _take_over(connection: sqlite3.Connection, new: Path) -> None:
    """Copy what today's code wrote, as far as the first revision had a place for it."""
    connection.execute("ATTACH ? AS new", (str(new),))
    names = "SELECT name FROM {}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in connection.execute(names.format("main")).fetchall():
        if table == "alembic_version":
            continue
        columns = [set(_columns(connection, schema, table)) for schema in ("main", "new")]
        common = ", ".join(sorted(columns[0] & columns[1]))
        connection.execute(f"DELETE FROM main.{table}")
        connection.execute(f"INSERT INTO main.{table} ({common}) SELECT {common} FROM new.{table}")
    connection.execute("DELETE FROM counters WHERE name IN ('cursor_key', 'directory')")
    connection.commit()
    connection.execute("DETACH new")


def _columns(connection: sqlite3.Connection, schema: str, table: str) -> list[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?, ?)", (table, schema))
    return [name for (name,) in rows]


async def _fill(path: Path, users: tuple[str, ...]) -> None:
    async with opened(path) as parts:
        for user in users:
            said = [{"role": "user", "content": f"{user} says {i} 🎉"} for i in range(30)]
            ids = await add(parts, said, user, metadata={"old": True})
            await update(parts, UpdateRequest(memory_id=ids[0], text=f"{user} says otherwise"))


def shapes(folder: Path) -> dict[str, Shape]:
    """The tables of each revision."""
    found: dict[str, Shape] = {}
    for revision in REVISIONS:
        path = folder / f"empty-{revision}.db"
        create(path, revision)
        with closing(sqlite3.connect(path)) as connection:
            found[revision] = shape(connection)
    return found
