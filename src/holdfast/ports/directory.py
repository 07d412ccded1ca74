"""The directory: who may use a deployment, and what was set up for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from holdfast.directory import Change, Row, Where
from holdfast.model import Json

R = TypeVar("R", bound=Row)


class Directory(Protocol):
    """Rows of the kinds in `holdfast.directory`, durable and transactional; of all projects.

    Whose rows a caller may see is decided above (`core.access`); each `where` names the project.
    """

    async def insert(self, *rows: Row) -> None:
        """Store new rows, all or none.

        Rows of the audit (`trail.AuditRow`) are put behind the end of their project's chain; those
        without a `count` get the number of the other rows. So it is in `update` and `delete`, where
        they get the number of rows that were changed.

        Raises ConflictError if one has the key, or another unique column, of a row that is there.
        """

    async def select(
        self,
        kind: type[R],
        *where: Where,
        order: str | None = None,
        newest_first: bool = False,
        offset: int = 0,
        size: int | None = None,
    ) -> list[R]:
        """The rows that fulfil every condition, by key (or `order`, a field, first)."""

    async def count(self, kind: type[Row], *where: Where) -> int:
        """How many rows fulfil every condition."""

    async def update(
        self,
        kind: type[Row],
        *where: Where,
        values: Mapping[str, Json],
        insert: Sequence[Row] = (),
    ) -> int:
        """Set fields of the rows that fulfil every condition; how many there were.

        One statement: of two callers that change a row on the condition of what it was before, one
        counts 1 and the other 0. If any row was changed, the new rows of `insert` are stored in
        the same transaction. Raises ConflictError like `insert`, ValidationError without a
        condition; nothing was changed then.
        """

    async def delete(self, kind: type[Row], *where: Where, insert: Sequence[Row] = ()) -> int:
        """Delete the rows that fulfil every condition; how many. ValidationError without one.

        If there were any, the new rows of `insert` are stored in the same transaction.
        """

    async def stamp(self) -> int:
        """Changes with every commit that wrote rows that are `stamped`, through any process.

        As new as the last such commit that returned before the call. One look-up, asked before
        every request.
        """

    async def changes(self, after: int, size: int) -> Sequence[Change]:
        """Changes of memories of all projects with numbers above `after`, in order.

        No change that is committed later has a number below one that was told.
        """

    async def last_change(self) -> int:
        """The number of the last change; 0 if there was none."""
