"""Rows whose project follows, in SQLite, from the row they belong to. Postgres keeps it in them, so
that row-level security fences them and every large table can be distributed by its project.

The shared statements know nothing of this column: what a transaction inserts gets the project the
transaction is for, and is refused in one that is for all of them. Archives do not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

COLUMN: Final = "project"

MINE: Final = "nullif(current_setting('holdfast.project', true), '')"
"""The project of the transaction; NULL, which the column does not take, if it is for all."""


class Owner(NamedTuple):
    """Whose a row is."""

    table: str
    """Where the project stands."""
    column: str
    """The number of the row there."""


OWNED: Final[Mapping[str, Owner]] = {
    "embeddings": Owner("memories", "memory_no"),
    "sources": Owner("memories", "memory_no"),
    "outbox": Owner("entities", "entity_no"),
}
"""The tables that have the column in Postgres alone."""

NUMBERED: Final = ("entities", "messages", "memories", "history", "jobs", "usage")
"""Tables whose rows are told by a number: in Postgres their key has the project too, behind it."""
