"""Opening SQLite files, and the one place where sqlite3's errors become ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from holdfast.backends.sql.sealing import Sealer
from holdfast.backends.sqlite.dialect import SqliteDialect
from holdfast.backends.sqlite.filters import register_functions
from holdfast.errors import (
    CorruptError,
    HoldfastError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from holdfast.limits import BUSY_TIMEOUT_S

APPLICATION_ID = 0x484F4C44  # "HOLD"
_CACHE_KIB = 16_384

LOG_PAGES_MAX = 16_000
"""Pages of the write-ahead log at which a commit makes a checkpoint itself; see `checkpoints`."""


class SqliteConnection(sqlite3.Connection):
    """A connection that knows its dialect, as the shared statements want it."""

    dialect = SqliteDialect()
    sealer: Sealer | None = None


def connect(
    path: Path,
    *,
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    sealer: Sealer | None = None,
) -> SqliteConnection:
    """A connection in autocommit mode (transactions are begun explicitly), usable on any thread.

    Write connections make commits durable (synchronous=FULL; `migrate.prepare` sets WAL) and
    overwrite what they delete (secure_delete), so that deleted text does not linger in free pages.
    """
    if not read_only and path.is_file() and not os.access(path, os.W_OK):
        # SQLite would tell at the first write only, and leave files beside it that block others
        raise _read_only(path, "no right to write")
    mode = "rw" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=busy_timeout_s,
        cached_statements=256,
        factory=SqliteConnection,
    )
    connection.sealer = sealer
    try:
        for pragma in _pragmas(read_only=read_only):
            connection.execute(pragma)
        register_functions(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _pragmas(*, read_only: bool) -> tuple[str, ...]:
    shared = (f"PRAGMA cache_size=-{_CACHE_KIB}", "PRAGMA temp_store=MEMORY")
    if read_only:
        return (*shared, "PRAGMA query_only=ON")
    return (
        *shared,
        "PRAGMA synchronous=FULL",
        "PRAGMA secure_delete=ON",
        f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}",
    )


@contextmanager
def translate(path: Path) -> Iterator[None]:
    """Turn errors of sqlite3, and of decoding what it holds, into Holdfast's; ours pass through."""
    try:
        yield
    except HoldfastError:
        raise
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    except msgspec.DecodeError as error:
        raise _damaged(path, "a value that cannot be read") from error


def _damaged(path: Path, reason: str) -> CorruptError:
    return CorruptError(
        f"{path} is not a readable SQLite database ({reason}).",
        hint="Choose another path, or restore a backup.",
    )


def _locked_folder(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.W_OK)


def _read_only(path: Path, reason: str) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"{path} cannot be written ({reason}).",
        hint="Give this user write access to the file and its folder, or set HOLDFAST_HOME.",
    )


def _translated(error: sqlite3.Error, path: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")) or "decode to UTF-8" in str(error):
        return _damaged(path, name or "text that cannot be read")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")) or (
        name.startswith("SQLITE_CANTOPEN") and _locked_folder(path.parent)
    ):
        return _read_only(path, name)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreUnavailableError(
            f"{path} is locked by another process.",
            hint="Find the process that holds it, then retry.",
        )
    if name.startswith("SQLITE_FULL"):
        return StoreUnavailableError(f"The disk of {path} is full.", hint="Free space, then retry.")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")):
        return StoreUnavailableError(
            f"{path} cannot be opened or read ({name}).",
            hint="Check that the folder exists, is writable, and its disk has space.",
        )
    return StoreError(f"{path}: the database refused a statement ({name or 'error'}).")
