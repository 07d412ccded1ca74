"""Work on an external index that people ask for: status, verification, repair, rebuilding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from holdfast.engine.comparing import Drift, compare
from holdfast.engine.indexing import Feeder
from holdfast.engine.leasing import Lease
from holdfast.engine.ownership import POINTS
from holdfast.errors import ConflictError, HoldfastError
from holdfast.limits import INDEX_LEASE_S
from holdfast.model import OnProgress, Project, Struct
from holdfast.ports import Optimizes, Vectors, build_number, held_number, space_number
from holdfast.ports.shards import Sharded

SWITCH_S = 2.0
"""Seconds after a switch for which searches that began before may still ask the old collection."""

AGAIN_S = 1.0
"""Seconds after which what differed is looked at again: it may have been on its way."""

_PUTS_MAX = 5
_ROUNDS_MAX = 20
"""Times a new collection follows what was written while it was filled."""


class IndexStatus(Struct, frozen=True, kw_only=True):
    """How an index stands."""

    name: str
    """Its kind and collection; "embedded" for the one in this process."""
    external: bool
    reachable: bool = True
    error: str | None = None
    """Code of the error, if it does not answer."""
    build: int = 0
    """Number of the collection that is searched."""
    building: int | None = None
    """Number of the collection that is built anew, now or until it was interrupted."""
    memories: int = 0
    """In the records, of all projects."""
    shards_away: tuple[str, ...] = ()
    """Names of the shards that do not answer, or are lost. What they lack waits for them, and is
    in the lines below; the others are fed all the while."""
    points: int | None = None
    """In the index; None if it does not answer."""
    optimizing: int | None = None
    """Of them are in what is being made over them, as a graph; None if nothing is."""
    projects_behind: int = 0
    """Projects of which it lacks something."""
    generations_behind: int = 0
    """Transactions it lacks, of the project that lacks most."""


class Rebuilt(Struct, frozen=True, kw_only=True):
    """A collection that was built anew and is searched now."""

    build: int
    memories: int
    """That were given to it."""


async def status(feeder: Feeder) -> IndexStatus:
    """How the index stands. Raises StoreError."""
    source, name = feeder.source, feeder.collections.name
    build = await feeder.build()
    sizes = await source.sizes()
    behind = await _behind(feeder, build)
    building = await source.number(_building(name))
    known = IndexStatus(
        name=name,
        external=True,
        build=build,
        building=None if building == build else building,
        memories=sum(sizes.values()),
        projects_behind=len(behind),
        generations_behind=max(behind.values(), default=0),
    )
    told = {field: getattr(known, field) for field in known.__struct_fields__}
    try:
        vectors = await feeder.collection(build)
        if isinstance(vectors, Sharded):
            told["shards_away"] = tuple(await vectors.shards_away())
        points = await vectors.count(None) - POINTS
        if isinstance(vectors, Optimizes):
            told["optimizing"] = await vectors.optimizing()
    except HoldfastError as error:
        return IndexStatus(**told | {"reachable": False, "error": error.code})
    return IndexStatus(**told | {"name": vectors.name, "points": points})


async def verify(feeder: Feeder, *, repair: bool, told: OnProgress | None = None) -> Drift:
    """Compare the whole index with the records; mend what differs if asked to.

    What is written meanwhile is not counted. Raises IndexUnavailableError, StoreError.
    """
    build = await feeder.build()
    vectors = await feeder.collection(build)
    space_no = await feeder.space_of(build)
    sizes = await feeder.source.sizes()
    advance = _counter(sum(sizes.values()), told)

    async def mend(engine: Vectors, project: Project, ids: Sequence[str]) -> None:
        await _put_surely(feeder, engine, project, ids, space_no)

    total = Drift()
    for project in sorted({*sizes, *await _fed(feeder, build)}):
        drift = await compare(
            feeder.source,
            vectors,
            project,
            repair=mend if repair else None,
            told=advance,
            space_no=space_no,
        )
        if drift.total and not repair:  # some of it may have been on its way: what stays differs
            await asyncio.sleep(AGAIN_S + vectors.settles_s)
            again = await compare(feeder.source, vectors, project, space_no=space_no)
            drift = min(drift, again, key=lambda each: each.total)
        total = total.plus(drift)
    feeder.drift = total.total
    return total


async def rebuild(feeder: Feeder, told: OnProgress | None = None) -> Rebuilt:
    """Fill a new collection from the records and search it in place of the old one.

    `told` counts memories; then, from the beginning, those in a graph that is made over them.
    No text is embedded again. Searches are answered by the old collection until all processes
    switch at once. Cut off in the middle, it goes on where it was when it is called again.

    Raises ConflictError if another process is at it, IndexUnavailableError, StoreError.
    """
    name = feeder.collections.name
    lease = Lease(feeder.source, f"index:{name}:rebuilding", feeder.clock, INDEX_LEASE_S)
    await _alone(lease)
    try:
        await _drop_old(feeder)
        build, filled = await _fill(feeder, lease, told)
        old = await feeder.build()
        source = feeder.source
        await source.move(_old(name), None, old)
        await source.move(build_number(name), await source.number(build_number(name)), build)
        await source.move(_building(name), build, None)
        feeder.wake.set()
        await asyncio.sleep(SWITCH_S)
        await _drop_old(feeder)
        return Rebuilt(build=build, memories=filled)
    finally:
        await lease.release()


async def discard(feeder: Feeder) -> bool:
    """Give up an interrupted rebuild and drop what it made; False if there is none.

    Raises ConflictError if it is under way, IndexUnavailableError, StoreError.
    """
    name = feeder.collections.name
    lease = Lease(feeder.source, f"index:{name}:rebuilding", feeder.clock, INDEX_LEASE_S)
    await _alone(lease)
    try:
        await _drop_old(feeder)
        build = await feeder.source.number(_building(name))
        if build is None:
            return False
        under_way = build != await feeder.build()  # else the kill came after the switch
        if under_way:
            await _drop(feeder, build)
        await feeder.source.move(_building(name), build, None)
        return under_way
    finally:
        await lease.release()


async def _fill(feeder: Feeder, lease: Lease, told: OnProgress | None) -> tuple[int, int]:
    """Fill the new collection, then follow what was written meanwhile; its number, and how many
    memories it was given."""
    source, name = feeder.source, feeder.collections.name
    build = await source.number(_building(name))
    if build is None:
        build = await _next_build(feeder)
        await source.move(_building(name), None, build)
    return build, await _made_ready(feeder, build, lambda: _alone(lease), told)


async def _made_ready(
    feeder: Feeder, build: int, keep: Callable[[], Awaitable[None]], told: OnProgress | None
) -> int:
    """Fill a collection, and make what pays over what it then has before it is searched; how many
    memories it was given."""
    filled = await _follow(feeder, build, keep, told)
    vectors = await feeder.collection(build)
    if isinstance(vectors, Optimizes):
        making = asyncio.create_task(vectors.optimize(told))
        try:
            while not (await asyncio.wait({making}, timeout=INDEX_LEASE_S / 3))[0]:
                await keep()
            await making
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        filled += await _follow(feeder, build, keep, None)
    return filled


async def _follow(
    feeder: Feeder, build: int, keep: Callable[[], Awaitable[None]], told: OnProgress | None
) -> int:
    """Fill a collection that is not searched from where it is; how many memories it was given."""
    source = feeder.source
    space_no = await feeder.space_of(build)
    sizes = await source.sizes()
    advance = _counter(sum(sizes.values()), told)
    filled = 0

    async def write(vectors: Vectors, project: Project, ids: Sequence[str]) -> None:
        nonlocal filled
        await keep()
        await feeder.put(vectors, project, ids, space_no)
        filled += len(ids)

    fed = await _fed(feeder, build)
    for project in sorted(sizes):
        if project in fed:
            advance(sizes[project])
        await feeder.feed(build, project, write=write, told=advance)
    for _ in range(_ROUNDS_MAX):
        behind = await _behind(feeder, build)
        for project in behind:
            await feeder.feed(build, project, write=write)
        if not behind:
            break
    return filled


@asynccontextmanager
async def prepared(
    feeder: Feeder,
    active_no: int,
    space_no: int,
    keep: Callable[[], Awaitable[None]],
    told: OnProgress | None = None,
) -> AsyncIterator[Mapping[str, int]]:
    """A collection of the vectors of a space that is to be searched; gives the numbers that are to
    be changed in the transaction of the switch. One that is there is brought up to date.

    Raises ConflictError while the index is being built anew, IndexUnavailableError, StoreError.
    """
    source, name = feeder.source, feeder.collections.name
    lease = Lease(source, f"index:{name}:rebuilding", feeder.clock, INDEX_LEASE_S)
    await _alone(lease)
    try:
        await _drop_old(feeder)
        if await source.number(_building(name)) is not None:
            raise ConflictError(
                "Building the index anew was interrupted.",
                hint="Run `holdfast index rebuild`, or give it up with `--discard`, first.",
            )
        # what is searched now is told apart from what will be
        await source.move(space_number(name, await feeder.build()), None, active_no)
        build = await build_of(feeder, space_no)
        if build is None:
            build = await _next_build(feeder)
            await source.move(space_number(name, build), None, space_no)

        async def both() -> None:
            await keep()
            await _alone(lease)

        await _made_ready(feeder, build, both, told)
        yield {build_number(name): build}
    finally:
        await lease.release()


async def build_of(feeder: Feeder, space_no: int) -> int | None:
    """The collection that was made for the vectors of a space."""
    known = await _space_numbers(feeder)
    return next((build for build, no in known.items() if no == space_no), None)


async def drop_spaces(feeder: Feeder, space_nos: Sequence[int]) -> None:
    """Drop the collections of spaces that are not searched any more."""
    searched = await feeder.build()
    for build, no in (await _space_numbers(feeder)).items():
        if no in space_nos and build != searched:
            await _drop(feeder, build)


async def _space_numbers(feeder: Feeder) -> dict[int, int]:
    prefix = space_number(feeder.collections.name, "")
    known = await feeder.source.numbers(prefix)
    return {int(name.removeprefix(prefix)): value for name, value in known.items()}


async def _next_build(feeder: Feeder) -> int:
    """A number that no collection has."""
    return max(await feeder.build(), *await _space_numbers(feeder), 0) + 1


async def _alone(lease: Lease) -> None:
    if not await lease.hold():
        raise ConflictError(
            "The index is being built anew by another process.",
            hint="`holdfast index status` tells whether it is.",
        )


async def _drop_old(feeder: Feeder) -> None:
    """Drop the collection that was searched before the last switch, if it is still there."""
    name = feeder.collections.name
    old = await feeder.source.number(_old(name))
    if old is None:
        return
    if old != await feeder.build():
        await _drop(feeder, old)
    await feeder.source.move(_old(name), old, None)


async def _drop(feeder: Feeder, build: int) -> None:
    """Drop a collection, and what is known of how far it was fed."""
    await feeder.collection(build)  # or it is not ours to drop
    await feeder.collections.drop(build)
    feeder.dropped(build)
    name, source = feeder.collections.name, feeder.source
    prefix = held_number(name, build)
    for number, value in (await source.numbers(prefix)).items():
        await source.move(number, value, None)
    space = space_number(name, build)
    await source.move(space, await source.number(space), None)


async def _fed(feeder: Feeder, build: int) -> dict[Project, int]:
    """How far a collection was fed, by project."""
    prefix = held_number(feeder.collections.name, build)
    known = await feeder.source.numbers(prefix)
    return {Project(name.removeprefix(prefix)): value for name, value in known.items()}


async def _behind(feeder: Feeder, build: int) -> dict[Project, int]:
    """Projects of which a collection lacks something, and how many generations."""
    touched, _ = await feeder.source.touched(-1)
    fed = await _fed(feeder, build)
    sizes = await feeder.source.sizes()
    last = {**dict.fromkeys(sizes, 0), **touched}
    lacks = {project: last[project] - fed.get(project, -1) for project in sorted(last)}
    return {project: count for project, count in lacks.items() if count > 0}


async def _put_surely(
    feeder: Feeder,
    vectors: Vectors,
    project: Project,
    ids: Sequence[str],
    space_no: int | None,
) -> None:
    """Put points beside the process that feeds the index, which may be at the same memories: until
    what was put is what the records have."""
    for _ in range(_PUTS_MAX):
        before = await feeder.source.points(project, ids, space_no)
        await feeder.put(vectors, project, ids, space_no)
        after = await feeder.source.points(project, ids, space_no)
        if after == before:
            return


def _counter(total: int, told: OnProgress | None) -> Callable[[int], None]:
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done = min(total, done + more)
        if told is not None:
            told(done, total)

    return advance


def _building(name: str) -> str:
    """Name of the number of the collection that is built anew."""
    return f"index:{name}:building"


def _old(name: str) -> str:
    """Name of the number of the collection that is to be dropped."""
    return f"index:{name}:old"
