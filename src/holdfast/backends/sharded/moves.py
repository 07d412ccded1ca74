"""Online rebalancing: points go to where the configuration wants them while everybody works.

The points come from the records, so a shard that is lost is rebuilt the same way. Each page is
written and then looked up again: what has changed or gone meanwhile is written as it is now. A
point's last write is thereby never older than the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from holdfast.backends.sharded.member import Member, tell
from holdfast.core.sharding import Placement, Plan, ShardMap, decode, encode
from holdfast.errors import ConflictError, IndexUnavailableError
from holdfast.model import Project, Space
from holdfast.ports import Point
from holdfast.ports.shards import PointSource, Progress, ShardMaps

T = TypeVar("T")

PAGE: Final = 256
"""Points moved before the progress is stored."""


class Beside:
    """A source with points that are no memory's: they do not change."""

    def __init__(self, source: PointSource, more: Mapping[Project, Sequence[Point]]) -> None:
        self._source = source
        self._more = {
            project: sorted(points, key=lambda point: point.id) for project, points in more.items()
        }

    async def sizes(self) -> Mapping[Project, int]:
        """As the source, and more."""
        own = {project: len(points) for project, points in self._more.items()}
        return {**await self._source.sizes(), **own}

    async def point_page(self, project: Project, after: str | None, size: int) -> list[Point]:
        """As the source, and more."""
        if project not in self._more:
            return await self._source.point_page(project, after, size)
        rest = [each for each in self._more[project] if after is None or each.id > after]
        return rest[:size]

    async def points(self, project: Project, ids: Sequence[str]) -> list[Point]:
        """As the source, and more."""
        if project not in self._more:
            return await self._source.points(project, ids)
        return [each for each in self._more[project] if each.id in ids]


OnMove = Callable[[str, Progress], None]
"""Called after each page, with the phase and how far it is."""


class Whole(Protocol):
    """The index as its users see it: what it does with a point is always right."""

    @property
    def space(self) -> Space: ...

    async def put(self, project: Project, points: Sequence[Point]) -> None: ...

    async def remove(self, project: Project, ids: Sequence[str]) -> None: ...


class Rebalancing:
    """Carries the stored map from phase to phase."""

    def __init__(
        self,
        whole: Whole,
        members: Mapping[str, Member],
        lost: Iterable[str],
        maps: ShardMaps,
        collection: str,
    ) -> None:
        self._whole = whole
        self._members = members
        self._lost = frozenset(lost)
        self._maps = maps
        self._collection = collection

    async def run(
        self,
        wanted: Placement,
        source: PointSource,
        *,
        told: OnMove,
        wait: Callable[[], Awaitable[None]],
    ) -> None:
        """Until the map is settled at `wanted`; `wait` lets every instance see the last phase."""
        while True:
            version, at = await self._load()
            if at.phase == "settled" and at.after == wanted:
                return
            await wait()
            if at.phase == "settled":
                await self._prepare(at, wanted)
            elif at.phase != "switched":
                version = await self._walk(version, at, source, told)
            await self._save(version, at.next(wanted))

    async def _walk(self, version: int, at: ShardMap, source: PointSource, told: OnMove) -> int:
        """Carry out a phase for every point; returns the version of the map it stored last."""
        plan, done = Plan(at), at.progress
        sizes = await source.sizes()
        total = sum(sizes.values())
        for project in sorted(sizes):
            if done.project is not None and project < done.project:
                continue
            after = done.after if project == done.project else None
            while points := await source.point_page(project, after, PAGE):
                moved = await self._page(plan, project, points, source)
                after = points[-1].id
                done = Progress(
                    project=project,
                    after=after,
                    seen=done.seen + len(points),
                    moved=done.moved + moved,
                    total=total,
                )
                version = await self._stored(version, at, done, told)
        return version

    async def _stored(self, version: int, at: ShardMap, done: Progress, told: OnMove) -> int:
        moving = ShardMap(phase=at.phase, before=at.before, after=at.after, progress=done)
        version = await self._save(version, moving)
        told(at.phase, done)
        return version

    async def _page(
        self, plan: Plan, project: Project, points: Sequence[Point], source: PointSource
    ) -> int:
        """Move those of a page that live elsewhere from now on; returns how many."""
        moving = [p for p in points if len(set(plan.owners(project, p.entities))) > 1]
        if not moving:
            return 0
        if plan.map.phase == "copying":
            await self._copy(plan, project, moving)
        else:
            await self._clean(plan, project, moving)
        await self._confirm(project, moving, source)
        return len(moving)

    async def _copy(self, plan: Plan, project: Project, points: Sequence[Point]) -> None:
        own = _grouped((plan.owners(project, point.entities)[1], point) for point in points)
        await tell(
            self._members, self._whole.space, own, lambda engine, some: engine.put(project, some)
        )

    async def _clean(self, plan: Plan, project: Project, points: Sequence[Point]) -> None:
        own = _grouped((plan.owners(project, point.entities)[0], point.id) for point in points)
        there = {name: ids for name, ids in own.items() if name not in self._lost}
        await tell(
            self._members,
            self._whole.space,
            there,
            lambda engine, ids: engine.remove(project, ids),
        )

    async def _confirm(
        self, project: Project, written: Sequence[Point], source: PointSource
    ) -> None:
        """Write again what the records have changed since the page was read."""
        while written:
            now = {p.id: p for p in await source.points(project, [p.id for p in written])}
            gone = [point.id for point in written if point.id not in now]
            if gone:
                await self._whole.remove(project, gone)
            written = [now[p.id] for p in written if p.id in now and now[p.id] != p]
            if written:
                await self._whole.put(project, written)

    async def _prepare(self, at: ShardMap, wanted: Placement) -> None:
        """Shards that join begin empty: they may have been here before."""
        known = {shard.name for shard in at.after.shards}
        for shard in wanted.shards:
            if shard.name not in known:
                await self._members[shard.name].drop()
                await self._members[shard.name].open(self._whole.space)

    async def _load(self) -> tuple[int, ShardMap]:
        stored = await self._maps.load(self._collection)
        if stored is None:
            raise IndexUnavailableError("The index was dropped.", hint="Open it anew.")
        return stored[0], decode(stored[1])

    async def _save(self, version: int, value: ShardMap) -> int:
        if not await self._maps.save(self._collection, version, encode(value)):
            raise ConflictError(
                "Somebody else rebalances this index, or has dropped it.",
                hint="One of you is enough.",
            )
        return version + 1


def _grouped(items: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for name, item in items:
        found.setdefault(name, []).append(item)
    return found
