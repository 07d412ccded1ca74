"""One index made of several: each user's memories live in one of them.

`core/sharding.py` decides who lives where. The map of that is stored, and an instance goes by the
one it has read for at most `map_age_s`: a rebalancing waits longer than that between two phases,
so that no two instances are ever more than one phase apart.

Writes ask every shard: one gets the point, the others forget an older one of that id that had
another user. They fail while a shard is away, and are right when they are repeated. Reads about a
user ask one shard only; all others may be away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from holdfast.backends.sharded.maps import FileShardMaps
from holdfast.backends.sharded.member import Clock, Member, tell_each
from holdfast.backends.sharded.moves import Beside, OnMove, Rebalancing
from holdfast.backends.sharded.optimizing import optimize_each, optimizing_of
from holdfast.backends.sharded.walks import Walk, Walks
from holdfast.backends.together import together, worst
from holdfast.config import Part, part_settings
from holdfast.core.breaker import BreakerBounds
from holdfast.core.merging import merge_matches, merge_terms
from holdfast.core.sharding import Pin, Placement, Plan, Shard, ShardMap, decode, encode, placement
from holdfast.errors import ClosedError, ConfigError, IndexUnavailableError, StoreUnavailableError
from holdfast.model import Entity, Json, OnProgress, Project, Space, Struct
from holdfast.ports import Match, Point, TermMatches, Vectors
from holdfast.ports.shards import PointSource, ShardMaps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import numpy as np

T = TypeVar("T")
I = TypeVar("I", Point, str)  # noqa: E741  (an item that a shard is told)
Make = Callable[[Part, str], Vectors]
"""Makes the engine of a shard: what its part says, and its collection there."""

_PAGE: Final = 1_000
_PUTTING: Final = 0.6
_FORGETTING: Final = 0.3
"""Shares of a write's time: a shard that hangs fails before the time of all is over."""
_NO_SPACE: Final = Space(provider="", model="", dimensions=0)


class ShardSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `shards`."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    """Small letters, digits and hyphens. Homes are hashed with it: never rename a shard."""
    provider: str
    config: dict[str, Json] = msgspec.field(default_factory=dict)
    region: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    weight: Annotated[int, Meta(ge=1, le=1_000)] = 1
    drain: bool = False
    """Whether it is leaving: the next rebalancing moves what it has to the others."""
    lost: bool = False
    """Whether its points are gone for good: it is not asked, and the next rebalancing puts them
    into the others from the records."""


class ShardedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `config` of an index whose provider is `sharded`."""

    shards: Annotated[tuple[ShardSettings, ...], Meta(min_length=1, max_length=256)]
    pins: tuple[Pin, ...] = ()
    """Users or projects that live in one shard, or in the shards of one region."""
    timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0
    """Seconds one call may take, all shards together."""
    map_age_s: Annotated[float, Meta(gt=0, le=300)] = 5.0
    """Seconds an instance goes by the map that it has read."""
    map_path: str | None = None
    """A file for the map, where all instances are on one machine; else the records keep it."""

    def wanted(self) -> Placement:
        """Where homes shall live. Raises ConfigError."""
        names = [shard.name for shard in self.shards]
        if len(set(names)) < len(names):
            raise ConfigError("index.config.shards: two shards have the same name.")
        staying = [
            Shard(name=shard.name, region=shard.region, weight=shard.weight)
            for shard in self.shards
            if not (shard.drain or shard.lost)
        ]
        return placement(staying, self.pins)


def build(
    part: Part,
    collection: str,
    *,
    make: Make,
    maps: ShardMaps,
    breaker: BreakerBounds | None = None,
) -> ShardedVectors:
    """The sharded index of a configuration; `maps` is where its map is kept unless in a file, and
    `breaker` says when a shard is left alone.

    Raises ConfigError, MissingExtraError.
    """
    settings = part_settings(ShardedSettings, part, "index")
    if settings.map_path is not None:
        maps = FileShardMaps(Path(settings.map_path))
    return ShardedVectors(collection, settings, make, maps, breaker=breaker)


class ShardedVectors:
    """Several engines as one; see the module."""

    def __init__(
        self,
        collection: str,
        settings: ShardedSettings,
        make: Make,
        maps: ShardMaps,
        *,
        breaker: BreakerBounds | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`clock` is a parameter for tests."""
        self.name = f"sharded:{collection}"
        self._collection = collection
        self._settings = settings
        self._wanted = settings.wanted()
        self._maps = maps
        self._clock = clock or _loop_time
        bounds = breaker or BreakerBounds()
        self._members = {
            shard.name: Member(
                shard.name,
                make(
                    Part(provider=shard.provider, config=shard.config),
                    f"{collection}-{shard.name}",
                ),
                bounds,
                self._clock,
            )
            for shard in settings.shards
        }
        self._lost = frozenset(shard.name for shard in settings.shards if shard.lost)
        self.settles_s: float = max(each.engine.settles_s for each in self._members.values())
        self._space = _NO_SPACE
        self._plan: Plan | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._walks = Walks()
        self._closed = False

    async def open(self, space: Space) -> None:
        """As the port says; shards that are away are opened when they are back, but one must be
        there. Raises ConfigError too if the map names a shard that is not configured."""
        self._alive()
        async with self._within():
            known = await self._known()
            placed = Plan(known).names
            self._check(placed)
            rest = [name for name in self._members if name not in placed]
            # those with points first: if the space is another one, nothing is made in the others
            opened = await self._opened(space, placed) + await self._opened(space, rest)
            if not any(opened):
                raise IndexUnavailableError(f"No shard of {self.name} can be reached.")
            self._space = space

    async def _known(self) -> ShardMap:
        """The stored map; the configured placement is stored if there is none."""
        first = ShardMap(before=self._wanted, after=self._wanted)
        if await self._stored() is None:
            with self._map_away():
                await self._maps.save(self._collection, 0, encode(first))
        return (await self._current()).map

    async def _opened(self, space: Space, names: Sequence[str]) -> list[bool]:
        async def reached(name: str) -> bool:
            try:
                await self._members[name].open(space)
            except IndexUnavailableError:
                return False  # its breaker knows, and the next call opens it
            return True

        asked = self._there(names)
        return await together([reached(name) for name in asked]) if asked else []

    def _there(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._lost]

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._members:
                raise ConfigError(
                    f"The shard {name} has memories and is not configured here.",
                    hint="Configure it; with `drain: true` a rebalancing empties it first.",
                )

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        """As the port says; while some shards fail the others get what is theirs."""
        async with self._within():
            plan = await self._current()
            self._check(plan.names)
            own, others = plan.divide(project, points, self._there(plan.names))
            failed = await self._tell(
                own, lambda engine, some: engine.put(project, some), share=_PUTTING
            )
            # not before: a point that is refused leaves the older one where it is
            undone = {point.id for name in failed for point in own[name]}
            gone = {name: [id_ for id_ in ids if id_ not in undone] for name, ids in others.items()}
            more = await self._tell(
                gone, lambda engine, some: engine.remove(project, some), share=_FORGETTING
            )
            _raise_worst([*failed.values(), *more.values()])

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        """As the port says; where a point is its id does not tell, so every shard is asked."""
        async with self._within():
            plan = await self._current()
            self._check(plan.names)
            asked = dict.fromkeys(self._there(plan.names), ids)
            failed = await self._tell(
                asked, lambda engine, some: engine.remove(project, some), share=_PUTTING
            )
            _raise_worst(list(failed.values()))

    async def _tell(
        self,
        items: Mapping[str, Sequence[I]],
        call: Callable[[Vectors, Sequence[I]], Awaitable[None]],
        *,
        share: float,
    ) -> dict[str, Exception]:
        """`share`: of the time of the whole call."""
        within_s = share * self._settings.timeout_s
        return await tell_each(self._members, self._space, items, call, within_s)

    async def shards_away(self) -> list[str]:
        """The names of the shards that do not answer, or are lost."""
        self._alive()

        async def answers(name: str) -> bool:
            try:
                await self._members[name].run(self._space, lambda engine: engine.count(None))
            except IndexUnavailableError:
                return False
            return True

        async with self._within():
            names = self._there(self._members)
            there = await together([answers(name) for name in names]) if names else []
        silent = [name for name, is_there in zip(names, there, strict=True) if not is_there]
        return sorted([*silent, *self._lost])

    async def optimize(self, told: OnProgress | None = None) -> None:
        """As the port says."""
        self._alive()
        members = [self._members[name] for name in self._there(self._members)]
        await optimize_each(members, self._space, told)

    async def optimizing(self) -> int | None:
        """As the port says."""
        self._alive()
        async with self._within():
            members = [self._members[name] for name in self._there(self._members)]
            return await optimizing_of(members, self._space)

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        """As the port says."""
        async with self._within():
            names = (await self._current()).reads(project, entity)
            lists = await self._asked(
                names, lambda engine: engine.nearest(project, entity, vector, limit)
            )
            return lists[0] if len(lists) == 1 else merge_matches(lists, limit)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        """As the port says; over several shards BM25's shares are compared as each tells them."""
        async with self._within():
            plan = await self._current()
            answers = await self._asked(
                plan.reads(project, entity),
                lambda engine: engine.holders(project, entity, terms, limit),
            )
            if len(answers) == 1:
                return answers[0]
            return merge_terms(answers, limit, copies=not plan.settled)

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        """As the port says, shard by shard. IndexUnavailableError if the shards change between two
        pages: begin anew then."""
        async with self._within():
            plan = await self._current()
            self._check(plan.names)
            walk = self._walks.go_on(plan, after)
            page: list[tuple[str, int]] = []
            while walk.at < len(plan.names) and not page:
                found, walk.cursor = await self._marks(plan.names[walk.at], project, walk, size)
                page = walk.unseen(found)
                if walk.cursor is None:
                    walk.at += 1
            return page, self._walks.told(walk, len(plan.names))

    async def _marks(
        self, name: str, project: Project, walk: Walk, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        (page,) = await self._asked([name], lambda engine: engine.marks(project, walk.cursor, size))
        return page

    async def count(self, project: Project | None) -> int:
        """As the port says; during a rebalancing a project is counted by its marks, and for None
        IndexUnavailableError is raised."""
        async with self._within():
            plan = await self._current()
            if plan.settled:
                return sum(await self._asked(plan.readable, lambda engine: engine.count(project)))
        if project is None:
            raise IndexUnavailableError(
                f"{self.name} is being rebalanced: some points are in two shards.",
                hint="Count them all when that is done.",
            )
        return await self._counted(project)

    async def _counted(self, project: Project) -> int:
        count, after = 0, None
        while True:
            page, after = await self.marks(project, after, _PAGE)
            count += len(page)
            if after is None:
                return count

    async def clear(self, project: Project | None) -> None:
        """As the port says; for None the map goes as well."""
        async with self._within():
            if project is None:
                names = self._there(self._members)
                await together([self._members[name].drop() for name in names])
                with self._map_away():
                    await self._maps.forget(self._collection)
                self._plan = None
                return
            names = self._there((await self._current()).names)
            await self._asked(names, lambda engine: engine.clear(project))

    async def close(self) -> None:
        """As the port says."""
        self._closed = True
        await together([each.engine.close() for each in self._members.values()])

    async def rebalance(
        self,
        source: PointSource,
        *,
        beside: Mapping[Project, Sequence[Point]] | None = None,
        told: OnMove = lambda _phase, _progress: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Move points until they live where the configuration wants them; searches go on.

        Goes on where an earlier one was cut off. Every instance must run with this configuration
        before. `beside` names points that no record tells of; `told` hears of each page. Raises
        IndexUnavailableError if a shard is away (go on later), ConflictError if somebody else does
        the same.
        """
        self._alive()
        moves = Rebalancing(self, self._members, self._lost, self._maps, self._collection)
        await moves.run(
            self._wanted,
            Beside(source, beside or {}),
            told=told,
            wait=lambda: pause(self._settings.map_age_s + self._settings.timeout_s),
        )
        self._plan = None

    @property
    def space(self) -> Space:
        """The space it was opened with."""
        return self._space

    async def _asked(
        self, names: Sequence[str], call: Callable[[Vectors], Awaitable[T]]
    ) -> list[T]:
        """The answers of several shards, all of which must be there."""
        self._check(names)
        for name in names:
            if name in self._lost:
                lost = IndexUnavailableError(
                    f"The shard {name} is lost.", hint="A rebalancing puts its memories elsewhere."
                )
                lost.whole = False
                raise lost
        return await together([self._members[name].run(self._space, call) for name in names])

    async def _current(self) -> Plan:
        """The plan to go by: of a map that was stored `map_age_s` ago, or later."""
        self._alive()
        plan = self._plan
        if plan is not None and self._clock() - self._read_at <= self._settings.map_age_s:
            return plan
        async with self._reading:
            began = self._clock()
            if self._plan is None or began - self._read_at > self._settings.map_age_s:
                stored = await self._stored()
                if stored is None:
                    raise IndexUnavailableError(f"{self.name} was dropped.", hint="Open it anew.")
                if self._plan is None or self._plan.map != stored:
                    self._plan = Plan(stored)
                self._read_at = began
            return self._plan

    async def _stored(self) -> ShardMap | None:
        with self._map_away():
            stored = await self._maps.load(self._collection)
        return None if stored is None else decode(stored[1])

    @contextmanager
    def _map_away(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailableError as error:
            raise IndexUnavailableError(
                f"The map of {self.name} is away.", retry_after_s=error.retry_after_s
            ) from error

    def _alive(self) -> None:
        if self._closed:
            raise ClosedError("The vector index is closed.")

    @asynccontextmanager
    async def _within(self) -> AsyncIterator[None]:
        """Bound what is done inside by `timeout_s`."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                yield
        except TimeoutError:
            late = IndexUnavailableError(
                f"{self.name} gave no answer within {self._settings.timeout_s:g} s."
            )
            late.whole = False  # of one of its shards
            raise late from None


def _raise_worst(failures: Sequence[Exception]) -> None:
    if failures:
        raise worst(failures)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
