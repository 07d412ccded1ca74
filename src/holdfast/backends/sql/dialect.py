"""What the shared statements ask of an engine: to run them, and the few things each does its way.

The statements are written in what SQLite and Postgres have in common, with `?` (or `:name`) for
parameters. The functions that run them neither know nor wait: a connection of an engine that
answers over a network lets its event loop do other things meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.filters import Filter
from holdfast.model import Project

if TYPE_CHECKING:
    from holdfast.backends.sql.sealing import Sealer

Parameters = Sequence[Any] | Mapping[str, Any]


class Cursor(Protocol):
    """What a statement answered."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""

    def fetchone(self) -> Any:
        """The next row as a tuple, or None."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """Runs statements, inside a transaction that is somebody else's to end."""

    @property
    def dialect(self) -> Dialect:
        """Of the engine behind it."""

    @property
    def sealer(self) -> Sealer | None:
        """Seals texts and opens them; None where they are stored as they are."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]], /) -> object:
        """Run one statement for each row of parameters."""


class Dialect(Protocol):
    """What engines do differently."""

    taken: type[Exception]
    """Raised by a statement that would store a unique value twice."""
    lock: str
    """Ends a SELECT of a job that is about to be changed: waits for others that change it."""
    lock_free: str
    """The same, but passes over what others are changing."""
    lock_head: str
    """Ends a SELECT of the end of a chain, `h`, that is about to be put behind."""
    by_number: str
    """Follows the name of a table of which rows are picked by their numbers, whatever else is asked
    of them."""
    doomed: str
    """Makes the temporary table `doomed`, unless it is there."""
    export_ids: str
    """A table of one column, `value`: the memory ids of `exports.memories`, a JSON list."""

    day: str
    """The number of the day, counted from 1970-01-01 in UTC, that the column `at` is in."""

    def numbers(
        self, connection: Connection, memories: int, turns: int
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Numbers for so many new memories and turns: growing, and above all that the project's
        earlier commits got."""

    def next_generation(self, connection: Connection) -> int:
        """A generation above all that the project's earlier commits got."""

    def condition(
        self, connection: Connection, project: Project, tree: Filter
    ) -> tuple[str, Sequence[Any]]:
        """An expression over `memories m`, and its parameters: true for exactly the memories of
        the project that the filter matches, false or NULL for the others."""

    def among(
        self, column: str, values: Sequence[int] | Sequence[str]
    ) -> tuple[str, Sequence[Any]]:
        """Whether a column has one of however many values: an expression, and its parameters."""

    def asks_no_more(self, connection: Connection) -> None:
        """What was asked is all of a transaction that reads, and has begun as one: its end need not
        wait until the answers were looked at."""

    def last_settled(self, connection: Connection) -> int:
        """Up to this number, history holds all that it ever will: whoever may still write has
        greater ones. To be asked before the rows, in another snapshot."""

    def size(self, connection: Connection) -> int:
        """Bytes of the whole store."""

    def everywhere(self, connection: Connection) -> AbstractContextManager[None]:
        """Meanwhile statements reach the rows of all projects, whichever the transaction is for."""
