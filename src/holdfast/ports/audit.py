"""The audit: rows that are linked to a chain of each project's own, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from holdfast.directory import Where
from holdfast.model import Project
from holdfast.trail import AuditRow, Head


class Chain(NamedTuple):
    """The chain of a project, as it was at one moment."""

    head: Head
    """As it is stored; where it is missing, one with an empty `mac`."""
    last_no: int
    """Of the last row that is stored."""


class Trail(Protocol):
    """The audit of all projects. It is written by `Records.commit` and the directory; what is read
    here is told as it is stored, whoever may have changed it.
    """

    async def chains(self, project: Project | None = None) -> Sequence[Chain]:
        """The chain of a project, none if nothing was ever done in it; None: those of all, by
        project."""

    async def rows(
        self,
        project: Project,
        *where: Where,
        after: int = 0,
        upto: int | None = None,
        newest_first: bool = False,
        size: int,
    ) -> Sequence[AuditRow]:
        """Rows with a number above `after`, and up to `upto` if that is given, that fulfil every
        condition, by number."""

    async def keys(self) -> Mapping[str, bytes]:
        """What rows may be keyed with, by `AuditRow.keyed`: "sealed" as well where texts are
        sealed. New rows are keyed with the last one."""

    async def prune(self, project: Project, upto: int, limit: int) -> int:
        """Delete the first rows, those up to this number, so many of them at most; how many.

        The chain begins behind them from then on. Its last row stays.
        """
