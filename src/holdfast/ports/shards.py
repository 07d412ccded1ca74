"""What a sharded index asks of the records: a place for its map, and the points themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from holdfast.model import Project, Struct
from holdfast.ports.vectors import Point


class ShardMaps(Protocol):
    """Keeps the map of each sharded collection: a few hundred bytes that every instance sees.

    Calls raise StoreUnavailableError when the store is away.
    """

    async def load(self, collection: str) -> tuple[int, bytes] | None:
        """The version of the map, from 1, and the map; None if there is none. As new as the last
        `save` that returned before the call, through any process."""

    async def save(self, collection: str, version: int, value: bytes) -> bool:
        """Store the map after `version` (0: there is none yet), durably.

        False if another one is stored by now; nothing was changed then.
        """

    async def forget(self, collection: str) -> None:
        """Remove the map; one that is not there is passed over."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a walk over all points has come."""

    project: str | None = None
    """Those before it, in order of their ids, are done."""
    after: str | None = None
    """In it, those up to the one with this id are done."""
    seen: int = 0
    moved: int = 0
    total: int = 0
    """How many there were when the walk began, or went on."""


class PointSource(Protocol):
    """The points as the records have them: what a rebalancing moves.

    Calls raise StoreUnavailableError when the records are away.
    """

    async def sizes(self) -> Mapping[Project, int]:
        """Every project that has points, and how many."""

    async def point_page(self, project: Project, after: str | None, size: int) -> list[Point]:
        """At most `size` points that follow the one with the id `after` in a stable order, or the
        first ones; none at the end."""

    async def points(self, project: Project, ids: Sequence[str]) -> list[Point]:
        """The points with these ids as they are now, in any order; those that are gone are left
        out. As new as the last commit that returned before the call."""


@runtime_checkable
class Rebalances(Protocol):
    """An index whose points can be moved among its shards."""

    async def rebalance(
        self,
        source: PointSource,
        *,
        beside: Mapping[Project, Sequence[Point]] | None = None,
        told: Callable[[str, Progress], None] = ...,
    ) -> None:
        """Move points until they live where the configuration wants them; searches go on.

        Goes on where an earlier one was cut off. Every instance must run with this configuration
        before. `beside` names points that no record tells of; `told` hears of each page of the
        phases `copying` and `cleaning`. Raises IndexUnavailableError if a shard is away (go on
        later), ConflictError if somebody else does the same.
        """


@runtime_checkable
class Sharded(Protocol):
    """An index of several shards."""

    async def shards_away(self) -> Sequence[str]:
        """The names of the shards that do not answer, or are lost, in order."""
