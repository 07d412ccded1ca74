"""What looking for a job costs, counted in steps of SQLite's machine and in writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.backends.sql import queue
from holdfast.backends.sqlite.connect import SqliteConnection, connect
from holdfast.backends.sqlite.due import due
from holdfast.backends.sqlite.migrate import prepare
from holdfast.backends.sqlite.records import SqliteRecords
from holdfast.clock import ManualClock, seeded_ids
from holdfast.model import Space

NOW, LATER = 1_000.0, 5_000.0
INSERT = (
    "INSERT INTO jobs (id, project, kind, state, scope_key, payload, attempts, run_after, "
    "created_at, lease_until) VALUES (?, 'p', 'extract', ?, ?, '{}', 0, ?, 0, ?)"
)
SPACE = Space(provider="tests", model="small", dimensions=4)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[SqliteConnection]:
    path = tmp_path / "store.db"
    opened = connect(path)
    prepare(opened, path)
    opened.execute("BEGIN")
    yield opened
    opened.close()


def jobs(
    connection: SqliteConnection,
    count: int,
    *,
    state: str = "PENDING",
    scopes: int = 1,
    run_after: float = NOW,
    lease_until: float | None = None,
) -> None:
    """So many jobs, of so many scopes by turns."""
    begin = connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
    connection.executemany(
        INSERT,
        [
            (f"job-{number}", state, f"scope-{number % scopes}", run_after, lease_until)
            for number in range(begin, begin + count)
        ],
    )


def steps(connection: SqliteConnection) -> int:
    """Thousands of steps that looking for a due job takes."""
    count = 0

    def counted() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(counted, 1_000)
    try:
        due(connection, NOW)
    finally:
        connection.set_progress_handler(None, 0)
    return count


def test_what_is_finished_costs_nothing(connection: SqliteConnection) -> None:
    jobs(connection, 20_000, state="SUCCEEDED", scopes=50)
    jobs(connection, 1)
    assert due(connection, NOW) == [20_001]
    assert steps(connection) <= 1


def test_the_oldest_is_found_without_looking_at_all_that_wait(
    connection: SqliteConnection,
) -> None:
    jobs(connection, 20_000, scopes=20_000)
    assert due(connection, NOW)[:3] == [1, 2, 3]
    assert steps(connection) <= 200  # one look at each entry of the index, at no row


def test_a_scope_whose_first_waits_for_later_gives_nothing(connection: SqliteConnection) -> None:
    jobs(connection, 1, run_after=LATER)
    jobs(connection, 20_000)
    assert due(connection, NOW) == []
    assert due(connection, LATER) == [1]
    assert steps(connection) <= 500


def test_a_due_job_behind_many_that_wait_is_found(connection: SqliteConnection) -> None:
    jobs(connection, 300, scopes=300, run_after=LATER)
    connection.execute(INSERT, ("due", "PENDING", "other", NOW, None))
    connection.execute(INSERT, ("dead", "RUNNING", "another", NOW, NOW))
    assert due(connection, NOW) == [301, 302]


def test_the_turn_is_checked_again_when_a_job_is_taken(connection: SqliteConnection) -> None:
    jobs(connection, 3, scopes=3)
    numbers = due(connection, NOW)
    first = queue.take(connection, numbers, "me", NOW, 60.0)
    second = queue.take(connection, numbers, "you", NOW, 60.0)
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == ("job-0", "job-1")
    assert queue.take(connection, [1, 2], "you", NOW, 60.0) is None


async def test_a_worker_that_finds_nothing_writes_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    records = SqliteRecords(tmp_path / "store.db", clock, seeded_ids(clock, 1))
    await records.open(SPACE)
    try:
        statements: list[str] = []
        assert records._writer is not None
        records._writer._connection.set_trace_callback(statements.append)
        assert await records.lease("me", NOW, 60.0) is None
        assert statements == []
    finally:
        await records.close()
