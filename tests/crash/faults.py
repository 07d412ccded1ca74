"""Planted faults: ways in which a store could break its promise, each caught by the killer.

`synchronous=OFF` is not among them: the system's page cache outlives a killed process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from holdfast.backends.sql import operations, removal
from holdfast.backends.sql.operations import Transaction
from holdfast.backends.sqlite.writer import Writer
from holdfast.model import Memory
from holdfast.ports import Op

_HELD_GROUPS = 4


def plant(name: str) -> None:
    """Break this process."""
    FAULTS[name]()


def _acknowledge_early() -> None:
    """Answer callers when their writes are carried out, and commit now and then."""
    held = 0

    def begin(self: Writer, *, is_patient: bool) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def commit(self: Writer, group: list[Any], *, is_filled: bool = False, **_: Any) -> bool:
        nonlocal held
        if not is_filled:
            self._open(is_patient=True)
            self._fill(group)
        held += 1
        if held % _HELD_GROUPS == 0:
            self._connection.execute("COMMIT")
        return True

    Writer._open, Writer._commit = begin, commit


def _commit_between() -> None:
    """Commit after every operation of a transaction, so that a kill leaves half of it."""

    carry_out = Transaction._run_one

    def run_one(self: Transaction, op: Op) -> Any:
        result = carry_out(self, op)
        self.group.puts.flush()
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN IMMEDIATE")
        return result

    Transaction._run_one = run_one


def _forget_vectors() -> None:
    """Leave the vector of an edited memory as it was."""
    put = Transaction.set_vectors

    def set_vectors(
        self: Transaction, found: tuple[int, Memory], vector: bytes | None, shadow: bytes | None
    ) -> None:
        known = self.connection.execute(
            "SELECT 1 FROM embeddings WHERE memory_no = ?", (found[0],)
        ).fetchone()
        if known is None:
            put(self, found, vector, shadow)

    Transaction.set_vectors = set_vectors


def _keep_turns() -> None:
    """Delete memories, but not the turns behind them."""
    removal._DELETE_MESSAGES = "SELECT 1"


def _spare_generations() -> None:
    """Change memories without telling the generations."""
    operations.record = lambda connection, group: None


def _overwrite_pages() -> None:
    """Write into the database file behind SQLite's back, as a bad disk would."""
    carry_out = Writer._commit
    count = 0

    def commit(self: Writer, group: list[Any], **how: bool) -> bool:
        nonlocal count
        begun = carry_out(self, group, **how)
        count += 1
        if count == _HELD_GROUPS:
            _damage(self._connection, str(self._path))
        return begun

    Writer._commit = commit


def _damage(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(path, "r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * 4096 * 3)


FAULTS: dict[str, Callable[[], None]] = {
    "acknowledges before the commit": _acknowledge_early,
    "commits in the middle": _commit_between,
    "keeps the old vector": _forget_vectors,
    "keeps deleted turns": _keep_turns,
    "keeps the old generation": _spare_generations,
    "overwrites pages": _overwrite_pages,
}
