"""Feeding an external index: what changed in the records follows into the engine, in order.

One process at a time feeds an index. Everything it does can be done twice: what it writes are the
current points of memories that changed, and how far it came is noted only afterwards. A kill at any
moment costs the work since the last note. Answers are right all the while, for a search knows how
far the engine was fed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from holdfast.clock import Clock
from holdfast.engine.comparing import Repair, compare
from holdfast.engine.leasing import Lease
from holdfast.engine.ownership import own
from holdfast.errors import HoldfastError, IndexUnavailableError
from holdfast.limits import (
    INDEX_BACKOFF_MAX_S,
    INDEX_BATCH,
    INDEX_LAST_S,
    INDEX_LEASE_S,
    INDEX_POLL_S,
)
from holdfast.metrics import Metrics
from holdfast.model import Project
from holdfast.ports import (
    Collections,
    IndexSource,
    Optimizes,
    Spaces,
    Vectors,
    build_number,
    held_number,
    space_number,
)

_OUT_OF_ORDER = 1_000
"""Generations by which the writes of one project may become visible after later ones of others."""

_GATHER_S = 0.05
"""Pause between a commit and feeding it, so that commits in a row are fed together."""

_log = logging.getLogger("holdfast.index")


@dataclass
class Waiting:
    """A project of which a part of the index that is away lacks something."""

    ahead: int
    """Up to this generation the other parts have everything, as far as they answered."""
    failures: int = 0
    again_at: float = 0.0
    """When it is tried again from where all parts have everything."""
    lacks: int = 0
    """Generations."""


class Overtaken(Exception):
    """Another process feeds the index by now."""


class Feeder:
    """Feeds one index from one record store."""

    def __init__(
        self,
        source: IndexSource,
        collections: Collections,
        clock: Clock,
        metrics: Metrics | None = None,
        spaces: Spaces | None = None,
    ) -> None:
        """`spaces`: those of the records, if a collection may have vectors of another one."""
        self.source = source
        self._spaces = spaces
        self._space_nos: dict[int, int] = {}
        self.collections = collections
        self.wake = asyncio.Event()
        """Set when there is something to feed."""
        self.drift = 0
        """What differed when the index was last compared with the records."""
        self.behind = 0
        """Generations the engine lacks, of the project that lacks most, when last looked."""
        self.waiting: dict[Project, Waiting] = {}
        """What waits for a part of the index, a shard say, that is away."""
        self.beside = False
        """Whether those who write feed the index as well, in the same transaction."""
        self.clock = clock
        self._metrics = metrics or Metrics()
        self._metrics.gauge("index_lag_generations", lambda: self.behind)
        self._metrics.gauge("index_drift", lambda: self.drift)
        self._metrics.gauge("index_projects_waiting", lambda: len(self.waiting))
        name = f"index:{collections.name}:feeding"
        self._lease = Lease(source, name, clock, INDEX_LEASE_S)
        self._news = self._told = 0
        self._seen = -1
        self._build = -1
        self._held: dict[Project, int] = {}
        self._owned: set[int] = set()
        self._puts = 0
        """How often something was given to the index."""
        self._optimized = -1
        """How often it was when the index was last asked to make what pays."""
        self._optimizing: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Feed the index until cancelled; while it is away, try again with growing pauses."""
        try:
            await self._serve()
        finally:
            if self._optimizing is not None:
                self._optimizing.cancel()
                await asyncio.gather(self._optimizing, return_exceptions=True)

    async def _serve(self) -> None:
        failures = 0
        while True:
            self.wake.clear()
            pause_s, news = INDEX_POLL_S, self._news
            try:
                if await self.round():
                    self._optimize()
                failures = 0
                if not self.waiting:
                    self._told = news
            except Overtaken:
                self._lease.forget()
            except HoldfastError as error:
                failures += 1
                pause_s = error.retry_after_s or min(INDEX_BACKOFF_MAX_S, 0.25 * 2.0**failures)
                _log.warning("feeding the index: %s: %s", error.code, error.message)
                await asyncio.sleep(pause_s)  # whatever is written meanwhile
                continue
            with suppress(TimeoutError):  # wait_for may lose a cancellation
                async with asyncio.timeout(pause_s):
                    await self.wake.wait()
                await asyncio.sleep(_GATHER_S)

    def _optimize(self) -> None:
        """Have made, beside the feeding, what pays once many points are there: all that was to be
        fed is in the index now."""
        is_at_it = self._optimizing is not None and not self._optimizing.done()
        if not is_at_it and self._optimized != self._puts:
            self._optimized = self._puts
            self._optimizing = asyncio.create_task(self._optimize_once(self._build))

    async def _optimize_once(self, build: int) -> None:
        try:
            vectors = await self.collection(build)
            if isinstance(vectors, Optimizes):
                await vectors.optimize()
        except HoldfastError as error:
            _log.warning("optimizing the index: %s: %s", error.code, error.message)
            await asyncio.sleep(INDEX_BACKOFF_MAX_S)
            self._optimized = -1

    async def build(self) -> int:
        """The number of the collection that is searched."""
        return await self.source.number(build_number(self.collections.name)) or 0

    async def collection(self, build: int) -> Vectors:
        """A collection that is this record store's. Raises what `Vectors.open` does, ConfigError if
        it is another one's."""
        vectors = await self.collections.of(build)
        if build not in self._owned:
            try:
                await own(self.source, vectors, partial(self._forget, build))
            except IndexUnavailableError as error:
                # a part is away, perhaps the one with the mark: the records know what they filled
                if error.whole or not await self._is_noted(build):
                    raise
                return vectors
            self._owned.add(build)
        return vectors

    async def _is_noted(self, build: int) -> bool:
        """Whether the records say that a collection was filled from them."""
        return bool(await self.source.numbers(held_number(self.collections.name, build)))

    async def _forget(self, build: int) -> None:
        """A collection is empty, whatever it was given: another engine, or one that lost it."""
        noted = await self.source.numbers(held_number(self.collections.name, build))
        for name, value in noted.items():
            await self.source.move(name, value, None)

    async def space_of(self, build: int) -> int | None:
        """The number of the space whose vectors a collection has; None if there is only one."""
        if self._spaces is None:
            return None
        if build not in self._space_nos:
            # in this order: a collection is given its number before another space is searched
            active = (await self._spaces.epoch()).active.no
            number = await self.source.number(space_number(self.collections.name, build))
            if number is None:
                return active
            self._space_nos[build] = number
        return self._space_nos[build]

    def owns(self, build: int) -> bool:
        """Whether a collection is known to be this record store's."""
        return build in self._owned

    def dropped(self, build: int) -> None:
        """A collection is gone; whose it is if it is made again is not known."""
        self._owned.discard(build)
        self._space_nos.pop(build, None)

    async def round(self) -> bool:
        """Feed what is not in the index yet; False if that is another process's work."""
        if not await self._lease.hold():
            self.waiting.clear()
            if self.beside:  # those who write here need the collection that is searched by now
                await self.collection(await self.build())
            return False
        build = await self.build()
        if build != self._build or self.beside:
            prefix = held_number(self.collections.name, build)
            known = await self.source.numbers(prefix)
            self._held = {Project(k.removeprefix(prefix)): v for k, v in known.items()}
            if build != self._build:
                self._seen = -1
                self.waiting.clear()
            self._build = build
        lacking, last = await self._lacking()
        for project in sorted({*lacking, *self.waiting}):
            await self._follow(build, project, lacking.get(project, 0))
        self._seen = last
        self.behind = max((each.lacks for each in self.waiting.values()), default=0)
        return True

    async def _follow(self, build: int, project: Project, lacks: int) -> None:
        """Bring a project up to date; what a part of the index that is away lacks is kept for it,
        and does not keep the others."""
        waiting, now = self.waiting.get(project), self.clock.now()
        if waiting is None or now >= waiting.again_at:
            try:
                self._held[project] = await self.feed(build, project)
            except IndexUnavailableError as error:
                if error.whole:
                    raise
                waiting = await self._put_off(build, project, error)
            else:
                if self.waiting.pop(project, None) is not None:
                    _log.warning("the index has everything of a project again")
                return
        waiting.lacks = max(lacks, waiting.lacks)
        await self._go_ahead(build, project, waiting)

    async def _put_off(self, build: int, project: Project, error: HoldfastError) -> Waiting:
        """Note that a part of the index is away, and when it is asked for this project again."""
        name = held_number(self.collections.name, build, project)
        waiting = self.waiting.get(project)
        if waiting is None:
            held = await self.source.number(name)
            waiting = self.waiting[project] = Waiting(ahead=-1 if held is None else held)
            _log.warning("feeding a part of the index waits: %s: %s", error.code, error.message)
        waiting.failures += 1
        pause_s = min(INDEX_BACKOFF_MAX_S, 0.25 * 2.0 ** min(waiting.failures, 20))
        waiting.again_at = self.clock.now() + max(pause_s, error.retry_after_s or 0.0)
        return waiting

    async def _go_ahead(self, build: int, project: Project, waiting: Waiting) -> None:
        """Give the parts that answer what changed since; where all have everything stays noted, so
        that nothing is lost, and searches add what came since from the records."""
        vectors, space_no = await self.collection(build), await self.space_of(build)
        while True:
            changes = await self.source.changes(project, waiting.ahead, INDEX_BATCH)
            pages = self._ids(project) if changes.lost else _once(changes.ids)
            async for ids in pages:
                try:
                    await self._write(vectors, project, ids, space_no=space_no)
                except IndexUnavailableError as error:
                    if error.whole:
                        raise
            waiting.ahead = changes.upto
            if not changes.more and not changes.lost:
                return

    async def _ids(self, project: Project) -> AsyncIterator[Sequence[str]]:
        """All that a project has: what the parts have too much is found when all are compared."""
        after: str | None = None
        while page := await self.source.point_page(project, after, INDEX_BATCH):
            after = page[-1].id
            yield [point.id for point in page]

    async def _lacking(self) -> tuple[Mapping[Project, int], int]:
        """Projects of which the index lacks something, and the last generation of all."""
        touched, last = await self.source.touched(max(-1, self._seen - _OUT_OF_ORDER))
        if self._seen < 0:
            touched = {**dict.fromkeys(await self.source.sizes(), 0), **touched}
        lacks = {
            project: generation - self._held.get(project, -1)
            for project, generation in touched.items()
        }
        lacking = {project: count for project, count in lacks.items() if count > 0}
        self.behind = max(lacking.values(), default=0)
        return lacking, last

    async def feed(
        self,
        build: int,
        project: Project,
        *,
        write: Repair | None = None,
        told: Callable[[int], None] | None = None,
    ) -> int:
        """Bring a project in a collection up to date; the generation up to which it then is.

        `write`: for who does not feed the index that is searched. `told`: how many more memories
        were looked at, when all of them are.
        """
        vectors = await self.collection(build)
        space_no = await self.space_of(build)
        write = write or partial(self._write, space_no=space_no)
        name = held_number(self.collections.name, build, project)
        held = await self.source.number(name)
        while True:
            since = -1 if held is None else held
            changes = await self.source.changes(project, since, INDEX_BATCH)
            if changes.lost:
                await compare(
                    self.source, vectors, project, repair=write, told=told, space_no=space_no
                )
            elif changes.ids:
                await write(vectors, project, changes.ids)
            if changes.upto > since:
                await asyncio.sleep(vectors.settles_s)
                if not await self.source.move(name, held, changes.upto):
                    raise Overtaken
                held = changes.upto
            if not changes.more and not changes.lost:
                return since if held is None else held

    async def _write(
        self, vectors: Vectors, project: Project, ids: Sequence[str], *, space_no: int | None
    ) -> None:
        """Write as the one who feeds the index."""
        if not await self._lease.hold():
            raise Overtaken
        await self.put(vectors, project, ids, space_no)

    async def put(
        self, vectors: Vectors, project: Project, ids: Sequence[str], space_no: int | None = None
    ) -> None:
        """Give the engine the current points of these memories, with their vectors in a space, and
        take away those of others; the parts that are there get theirs before it is raised that one
        is not."""
        points = await self.source.points(project, ids, space_no)
        self._puts += 1
        here = {point.id for point in points}
        gone = [id_ for id_ in ids if id_ not in here]
        away: IndexUnavailableError | None = None
        if points:
            try:
                await vectors.put(project, points)
                self._metrics.count("index_point", "put", amount=len(points))
            except IndexUnavailableError as error:
                if error.whole:
                    raise
                away = error
        if gone:
            await vectors.remove(project, gone)
            self._metrics.count("index_point", "removed", amount=len(gone))
        if away is not None:
            raise away

    def notice(self) -> None:
        """This process has written something."""
        self._news += 1
        self.wake.set()

    async def finish(self) -> None:
        """Feed what this process wrote, if that is soon done, and let another one go on."""
        with suppress(HoldfastError, Overtaken, TimeoutError):  # it is fed later, by whoever is up
            async with asyncio.timeout(INDEX_LAST_S):
                if self._news != self._told:
                    await self.round()
                await self._lease.release()


async def _once(ids: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    if ids:
        yield ids
