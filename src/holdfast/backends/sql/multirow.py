"""Inserting many rows with few statements.

`executemany` gives the interpreter's lock away for every row, and where an event loop is busy gets
it back late; a statement with many rows gives it away once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from holdfast.backends.sql.dialect import Connection, Cursor

Row = tuple[Any, ...]

_ROWS_MAX: Final = 64
"""Rows of one statement; a memory's take 28 of the 32,766 parameters that SQLite allows."""

_MARKS: Final = re.compile(r"\([?,]+\)")


def parts(count: int) -> Iterator[slice]:
    """Cuts so many rows into runs of 64, 32, 16, 8, 4, 2 and 1: few different statements."""
    start = 0
    while start < count:
        size = min(_ROWS_MAX, 1 << (count - start).bit_length() - 1)
        yield slice(start, start + size)
        start += size


def insert(connection: Connection, statement: str, rows: Sequence[Row]) -> Cursor:
    """Run an INSERT of one row, `VALUES (?,...)`, for the rows of one part."""
    return connection.execute(_repeated(statement, len(rows)), tuple(chain.from_iterable(rows)))


def insert_all(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    """`insert` for any number of rows, in order."""
    for part in parts(len(rows)):
        insert(connection, statement, rows[part])


@lru_cache(maxsize=256)
def _repeated(statement: str, times: int) -> str:
    [marks] = _MARKS.findall(statement)
    return statement.replace(marks, ",".join([marks] * times))
