"""Creating and upgrading the embedded record database, whole or not at all.

A new file is created from `schema.sql` (generated from `backends.schema`, checked by
`make check`), so that starting costs no import of SQLAlchemy; only upgrades load Alembic.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from importlib import resources
from pathlib import Path

from holdfast.backends.sqlite.connect import APPLICATION_ID
from holdfast.errors import CorruptError, SchemaTooNewError

_log = logging.getLogger("holdfast")

_WAL_WAIT_S = 5.0
_PAUSE_S = 0.01

REVISIONS = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012",
    "0013", "0014", "0015", "0016",
)  # fmt: skip
"""Every released revision, oldest first; a test compares it with the migrations."""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to the newest revision, under the write lock.

    Several processes may call this at once: the first does the work, the others find it done.

    Raises CorruptError if the file is somebody else's database, SchemaTooNewError if a newer
    Holdfast wrote it; the file is then as it was.
    """
    _revision(connection, path)  # refuses others' files before the journal mode, kept in it, is set
    _use_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        revision = _revision(connection, path)
        if revision is None:
            _create(connection)
        elif revision != REVISIONS[-1]:
            _log.info("upgrading the store from schema %s to %s", revision, REVISIONS[-1])
            upgrade(connection, REVISIONS[-1])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _use_wal(connection: sqlite3.Connection) -> None:
    """Set the journal mode, which is kept in the file.

    Where two processes make a new file at once, SQLite refuses one of them without waiting.
    """
    deadline = time.monotonic() + _WAL_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
            if not busy or time.monotonic() >= deadline:
                raise
        time.sleep(_PAUSE_S)


def _revision(connection: sqlite3.Connection, path: Path) -> str | None:
    """The revision of the file; None if it is empty."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if not tables:
        return None
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner != APPLICATION_ID or "alembic_version" not in tables:
        raise CorruptError(
            f"{path} is a database, but not one of Holdfast's.",
            hint="Choose another path; nothing was changed.",
        )
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise CorruptError(
            f"{path} does not say which schema it has.",
            hint="It is damaged: restore a backup; nothing was changed.",
        )
    if row[0] not in REVISIONS:
        raise SchemaTooNewError(
            f"{path} has schema {row[0]!r}; this version of Holdfast knows up to {REVISIONS[-1]}.",
            hint="Upgrade Holdfast; nothing was changed.",
        )
    return str(row[0])


def _create(connection: sqlite3.Connection) -> None:
    script = resources.files("holdfast.backends.sqlite").joinpath("schema.sql").read_text()
    # executescript() would commit the open transaction; the statements hold no semicolons inside
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (REVISIONS[-1],))
    connection.execute("INSERT INTO counters (name, value) VALUES ('generation', 0)")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def upgrade(connection: sqlite3.Connection, revision: str) -> None:
    """Run Alembic's migrations up to `revision` inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import StaticPool, create_engine

    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # the transaction and the connection are the caller's: SQLAlchemy must end neither
    for name in ("do_commit", "do_rollback", "do_close"):
        setattr(engine.dialect, name, _leave_alone)
    with engine.connect() as bound:
        config = Config()
        config.set_main_option("script_location", "holdfast.backends:migrations")
        config.attributes["connection"] = bound
        command.upgrade(config, revision)


def _leave_alone(_connection: object) -> None:
    """Stands in for what a borrower must not do to a connection."""
