"""The records as an external index sees them: what it is fed from, and what finds are turned into.

Named numbers keep where an index stands: they live in the record store, so that all processes see
the same, and a move from one value to another is made by one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from holdfast.model import Entity, Memory, Project, Struct
from holdfast.ports.vectors import Point, Vectors

if TYPE_CHECKING:
    from holdfast.core.view import Entry


class Standing(Struct, frozen=True, kw_only=True):
    """An entity and an index, in one look before a search."""

    generation: int
    """As in `EntityState`."""
    memories: int
    """As in `EntityState`."""
    build: int
    """The collection that is searched, by its number."""
    held: int
    """The collection has every change of the project up to this generation; -1 if nobody says so,
    or what changed up to now is not known any more."""
    epoch: int = 0
    """As in `EntityState`."""


class Excerpt(Struct, frozen=True, kw_only=True):
    """Some entries of an entity, in order of insertion, with the memory of each."""

    entries: tuple[Entry, ...]
    memories: tuple[Memory, ...]
    told: tuple[tuple[str, str], ...] = ()
    """As in `Delta`, for the unlisted turns among the entries."""
    epoch: int = 0
    """As in `Delta`."""
    dimensions: int | None = None
    """As in `Delta`."""


class Changes(Struct, frozen=True, kw_only=True):
    """What changed in a project after a generation."""

    ids: tuple[str, ...] = ()
    """Memories that were put, changed or removed, each once."""
    upto: int
    """All that changed up to here is told."""
    more: bool = False
    """Whether more is known to have changed."""
    lost: bool = False
    """Whether what changed is not known any more: compare everything."""


class IndexSource(Protocol):
    """What an external index asks of the records. Raises what `Records` does."""

    async def standing(self, project: Project, entity: Entity, index: str) -> Standing:
        """How an entity and the index of this name stand; one look-up. "*" as in `Records.state`.

        What `held` says was so before `generation` was read.
        """

    async def excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], latest: int
    ) -> Excerpt:
        """The entity's memories among `ids`, each with the three that were inserted before it and
        the three after it, listed memories told by the unlisted turns among them, and the `latest`
        inserted of all; whatever is asked for twice comes once."""

    async def dated(
        self, project: Project, entity: Entity, spans: Sequence[tuple[float, float]], limit: int
    ) -> list[str]:
        """Ids of the entity's memories whose event time is in one of the half open spans, at most
        `limit`, the last inserted first. Looks at every row of the entity."""

    async def touched(self, since: int) -> tuple[Mapping[Project, int], int]:
        """Projects that changed after a generation, each with its last known change, and the last
        generation of all."""

    async def sizes(self) -> Mapping[Project, int]:
        """Projects that have memories, and how many: ended and unlisted ones too. Costs a scan."""

    async def changes(self, project: Project, since: int, size: int) -> Changes:
        """The first changes after a generation: about `size`, whole generations only."""

    async def points(
        self, project: Project, ids: Sequence[str], space_no: int | None = None
    ) -> list[Point]:
        """What an index is to keep of the memories with these ids that exist, with their vectors
        in a space; in the active one for None."""

    async def point_page(
        self, project: Project, after: str | None, size: int, space_no: int | None = None
    ) -> list[Point]:
        """The next points of a project in a stable order; from the first on for None."""

    async def number(self, name: str) -> int | None:
        """A named number; None if there is none."""

    async def numbers(self, prefix: str) -> Mapping[str, int]:
        """The named numbers whose names begin so; the prefix ends with a colon."""

    async def move(self, name: str, expected: int | None, value: int | None) -> bool:
        """Change a named number from one value to another; None is for "not there".

        False if it is not what was expected; nothing was changed then.
        """


class Collections(Protocol):
    """The collections of one index, by number: one is searched, another may be built beside it."""

    name: str
    """Of the index."""

    async def of(self, build: int) -> Vectors:
        """The collection of this number, open. Raises what `Vectors.open` does."""

    async def drop(self, build: int) -> None:
        """Remove a collection from its engine. Raises what `Vectors` does."""

    async def close(self) -> None:
        """Release every connection. Idempotent."""


def build_number(index: str) -> str:
    """Name of the number of the collection that is searched; 0 where there is none."""
    return f"index:{index}:build"


def space_number(index: str, build: str | int) -> str:
    """Name of the number of the space whose vectors a collection has; the active one where there
    is none."""
    return f"index:{index}:space:{build}"


def held_number(index: str, build: int, project: str = "") -> str:
    """Name of the number that says up to which generation a collection has a project."""
    return f"{held_numbers(index)}{build}:{project}"


def held_numbers(index: str) -> str:
    """With what the names of all these begin; the number of a collection comes next."""
    return f"index:{index}:held:"
