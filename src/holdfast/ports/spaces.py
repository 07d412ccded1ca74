"""Embedding spaces of a record store, and how one takes the place of another.

One space is active: its vectors are ranked. Another may be the shadow: it is being filled, and
whatever is written gets its vectors too. A switch makes the shadow the active one and retires the
other, in one transaction. Every change of that order begins a new epoch; vectors are told apart
by the epoch they were computed in, so that those of different spaces never meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from holdfast.model import Project, Space, Struct

SpaceStatus = Literal["active", "shadow", "retired"]


class SpaceSwitched(Exception):
    """What was computed belongs to an earlier epoch; nothing was changed. Compute it anew."""


class StoredSpace(Struct, frozen=True, kw_only=True):
    """A space by its number, which never means another one."""

    no: int
    space: Space
    status: SpaceStatus


class Epoch(Struct, frozen=True, kw_only=True):
    """Which space is searched, and which one is filled beside it."""

    number: int
    active: StoredSpace
    shadow: StoredSpace | None = None


class Unfilled(Struct, frozen=True, kw_only=True):
    """A memory that has a vector in the active space and none in another."""

    no: int
    project: Project
    id: str
    text: str
    hash: str


class Filling(Struct, frozen=True, kw_only=True):
    """How far a space is filled, in memories of all projects."""

    memories: int
    """That have a vector in the active space."""
    missing: int
    """Of these, that have none in the other."""


class Spaces(Protocol):
    """The spaces of a record store. Raises what `Records` does."""

    async def epoch(self) -> Epoch:
        """How it stands, as of the last commit of any process."""

    async def stored(self) -> Sequence[StoredSpace]:
        """Every space there was, the first one first."""

    async def begin(self, space: Space) -> Epoch:
        """Make a space the shadow, in place of another shadow; idempotent.

        For the active space: give the shadow up, so that there is none. From its return on, no
        commit carries vectors of an earlier epoch. Raises ConflictError for the active space if
        there is no shadow.
        """

    async def unfilled(self, no: int, after: int, size: int) -> list[Unfilled]:
        """Memories without a vector in this space, by number, behind `after`."""

    async def filling(self, no: int) -> Filling:
        """How far this space is filled. Costs a scan."""

    async def switch(self, no: int, numbers: Mapping[str, int]) -> Epoch:
        """Make the shadow the active space and retire the other, in one transaction; named numbers
        (see `IndexSource`) take their new values in the same one.

        Raises ConflictError, and changes nothing, if it is not the shadow, or while a memory that
        has a vector in the active space has none in it.
        """

    async def empty(self, no: int, size: int) -> int:
        """Delete up to `size` vectors of a retired space; how many. 0 for any other space."""
