"""Making a store and borrowing its connection for migrations."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest

from holdfast.backends.sqlite import migrate
from holdfast.backends.sqlite.connect import APPLICATION_ID, connect
from holdfast.backends.sqlite.migrate import REVISIONS, prepare, upgrade


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "holdfast.db"


def tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}


def test_a_new_store_says_whose_and_which_it_is(path: Path) -> None:
    with closing(connect(path)) as connection:
        prepare(connection, path)
        assert not connection.in_transaction
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        assert revisions == [(REVISIONS[-1],)]
        assert {"memories", "messages", "history", "outbox", "jobs"} < tables(connection)


def test_preparing_again_changes_nothing(path: Path) -> None:
    with closing(connect(path)) as connection:
        prepare(connection, path)
        before = connection.execute("PRAGMA schema_version").fetchone()
        changes = connection.total_changes
        prepare(connection, path)
        assert connection.execute("PRAGMA schema_version").fetchone() == before
        assert connection.total_changes == changes


def test_a_store_that_could_not_be_made_is_made_the_next_time(path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        create(connection)
        raise RuntimeError("the machine went down")

    create = migrate._create
    with closing(connect(path)) as connection:
        with patch.object(migrate, "_create", fail), pytest.raises(RuntimeError):
            prepare(connection, path)
        assert not connection.in_transaction
        assert tables(connection) == set()
        prepare(connection, path)
        assert "memories" in tables(connection)


def test_many_openers_make_one_store(path: Path) -> None:
    faults: list[BaseException] = []
    begin = threading.Barrier(8)

    def open_it() -> None:
        begin.wait()
        try:
            with closing(connect(path)) as connection:
                prepare(connection, path)
        except sqlite3.Error as error:
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_an_upgrade_ends_neither_the_callers_transaction_nor_its_connection(path: Path) -> None:
    with closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        upgrade(connection, REVISIONS[-1])
        assert connection.in_transaction
        assert "memories" in tables(connection)
        connection.execute("ROLLBACK")
        assert tables(connection) == set()


def test_opening_a_current_store_needs_no_migration_library(path: Path) -> None:
    with closing(connect(path)) as connection:
        prepare(connection, path)
    script = (
        "import sys; from pathlib import Path\n"
        "from holdfast.backends.sqlite.connect import connect\n"
        "from holdfast.backends.sqlite.migrate import prepare\n"
        "for name in sys.argv[1:]:\n"
        "    connection = connect(Path(name))\n"
        "    prepare(connection, Path(name)); connection.close()\n"
        "assert not {'sqlalchemy', 'alembic'} & sys.modules.keys()\n"
    )
    new = path.with_name("new.db")
    subprocess.run([sys.executable, "-c", script, str(path), str(new)], check=True)


def test_a_new_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    leave = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    leave.start()
    with closing(connect(path, busy_timeout_s=0)) as connection:
        migrate.prepare(connection, path)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    leave.join()
    other.close()
