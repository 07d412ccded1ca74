"""Stores of an earlier revision, made by today's code."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

from holdfast.backends.sqlite import migrate
from holdfast.backends.sqlite.connect import APPLICATION_ID, connect


def create(path: Path, revision: str) -> None:
    """An empty store as `revision` left it."""
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        migrate.upgrade(connection, revision)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("COMMIT")


@contextmanager
def current(revision: str) -> Iterator[None]:
    """Until the end of the block `revision` counts as the newest one."""
    known = migrate.REVISIONS[: migrate.REVISIONS.index(revision) + 1]
    with patch.object(migrate, "REVISIONS", known):
        yield


def revision_of(connection: sqlite3.Connection) -> str:
    """The revision a store says it has."""
    [revision] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(revision)
