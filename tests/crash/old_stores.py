"""Stores of the first revision for victims to migrate, and how every revision's tables look."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from holdfast.backends.sqlite.migrate import REVISIONS
from holdfast.engine.update import UpdateRequest, update
from support.embedded import add, opened
from support.revisions import create, current
from tests.crash.inspection import Shape, shape


def old_store(path: Path, users: tuple[str, ...] = ("ann", "bob", "日本")) -> Path:
    """A store of the first revision in which these users have memories."""
    create(path, REVISIONS[0])
    with current(REVISIONS[0]):
        asyncio.run(_fill(path, users))
    return path


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
