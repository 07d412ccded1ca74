"""Whole tables, as they are stored: read in one snapshot, and loaded into a store that is empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from holdfast.model import Struct

Row = Sequence[Any]
"""Values of a row: None, whole numbers, floats, texts, bytes. The same in every back end."""


class Table(Struct, frozen=True, kw_only=True):
    """A table that is archived."""

    name: str
    columns: tuple[str, ...]
    key: tuple[int, ...]
    """The places of the columns that tell its rows apart, by which they are ordered."""


class Load(Struct, frozen=True, kw_only=True):
    """Rows to put into a table."""

    table: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    anew: bool = False
    """Take out first what is in the table."""


class Snapshot(Protocol):
    """A store at one moment, whatever is written meanwhile."""

    store: str
    """Tells this store from others."""
    revision: str
    """Of its schema."""
    at: float
    """The moment, epoch seconds; what was committed before is there."""

    async def tables(self) -> Sequence[Table]:
        """The tables that are archived, in the order in which they are to be loaded."""

    def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        """The rows of a table, ordered by its key, some at a time; memory stays flat."""

    async def counts(self) -> Mapping[str, int]:
        """About how many rows each table has, to show how far it is."""


class Archiving(Protocol):
    """The record database of a store, beside whoever uses it. Raises StoreError, CorruptError."""

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """The store as it is now. Raises NotFoundError if there is none, ConflictError if its
        schema is an earlier one or a restore into it was not finished."""

    async def begin(self, archive: int, *, restart: bool = False) -> int:
        """Make ready to load an archive, told by a number: how many loads are done already.

        From now on the store is not opened until `finish`. `restart`: drop what an interrupted
        restore left, and begin anew. Raises ConflictError if the store holds something, or what
        another archive left half.
        """

    async def load(self, loads: Sequence[Load], done: int) -> None:
        """Put rows in, and note that so many loads are done: in one transaction."""

    async def finish(self) -> None:
        """The store is whole: it may be opened.

        It gets an identity of its own, so that nothing is believed that was cached or indexed of
        another one, and its numbers go on behind all that were given.
        """

    async def destroyed(self) -> Sequence[tuple[str, str, str]]:
        """Project, kind and id of the subjects of whose keys one was destroyed, now."""

    async def close(self) -> None:
        """Release what is held. Idempotent."""
