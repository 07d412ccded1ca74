"""Memories with all that belongs to them, to be put into another store or project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.model import Project, Struct
from holdfast.ports.operations import PutMemory, PutTurns


class Moved(Struct, frozen=True, kw_only=True):
    """A memory as it is to be put: its vector, its past, and the turns it came from."""

    turns: tuple[PutTurns, ...]
    put: PutMemory


class Moving(Protocol):
    """Reads whole memories of all projects, texts opened. Raises what `Records` does."""

    async def projects(self) -> Mapping[Project, int]:
        """Projects that have memories, and how many."""

    async def page(
        self, project: Project, after: int, size: int
    ) -> tuple[Sequence[Moved], int | None]:
        """The next memories of a project in order of insertion, from 0 on, and what is `after` for
        those that follow; None behind the last."""
