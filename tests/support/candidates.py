"""A candidate index put together by hand over the reference engine, and ways to disturb it."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from holdfast.backends.index.builds import Builds
from holdfast.backends.index.candidates import Bounds, CandidateIndex
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.clock import ManualClock
from holdfast.engine.indexing import Feeder
from holdfast.errors import HoldfastError, IndexUnavailableError
from holdfast.metrics import Metrics
from holdfast.model import Entity, Project, Space
from holdfast.ports import Found, Match, Point, Probe, TermMatches


class Faulty(MemoryVectors):
    """An engine of which calls fail: the n-th from now on, or all while it is `away`."""

    away = False
    late = False
    """A put that fails is carried out, and its answer lost."""
    error: type[HoldfastError] = IndexUnavailableError
    fail_at = 0
    calls = 0

    @classmethod
    def made(cls) -> type[Faulty]:
        """A kind of its own, so that what is set for it touches no other."""
        return type("Faulty", (cls,), {})

    def step(self) -> None:
        kind = type(self)
        kind.calls += 1
        if self.away or kind.calls == kind.fail_at:
            raise self.error("A planted failure.")

    async def open(self, space: Space) -> None:
        self.step()
        await super().open(space)

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        if self.late:
            await super().put(project, points)
        self.step()
        await super().put(project, points)
        await asyncio.sleep(0)

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        self.step()
        await super().remove(project, ids)

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        self.step()
        await asyncio.sleep(0)
        return await super().nearest(project, entity, vector, limit)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        self.step()
        await asyncio.sleep(0)
        return await super().holders(project, entity, terms, limit)

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        self.step()
        return await super().marks(project, after, size)

    async def count(self, project: Project | None) -> int:
        self.step()
        return await super().count(project)

    async def clear(self, project: Project | None) -> None:
        self.step()
        await super().clear(project)


class Rig:
    """One index: its engine, its feeder, and the records both read."""

    def __init__(
        self,
        records: Any,
        dimensions: int,
        *,
        engine: Engine | None = None,
        bounds: Bounds | None = None,
        clock: Any = None,
        space: Space | None = None,
    ) -> None:
        self.records = records
        self.engine = engine or Engine()
        self.faults = Faulty.made()
        self.metrics = Metrics()
        self.clock = clock or ManualClock()
        space = space or Space(provider="tests", model="small", dimensions=dimensions)
        self.builds = Builds(lambda name: self.faults(self.engine, name), "index", space)
        self.exact = EmbeddedIndex(records, dimensions, 1 << 30)
        self.source = records.indexing
        self.index = CandidateIndex(
            records,
            self.source,
            self.builds,
            self.exact,
            dimensions,
            bounds=bounds or Bounds(exact_rows=0),
            metrics=self.metrics,
            clock=self.tick,
        )
        self.feeder = Feeder(self.source, self.builds, self.clock, self.metrics)
        self.time = 0.0

    def tick(self) -> float:
        """A clock on which every look is an hour after the last."""
        self.time += 3_600.0
        return self.time

    def wipe(self) -> None:
        """The engine loses everything, and nobody is told."""
        for collection in self.engine.collections.values():
            collection.points.clear()

    def answered(self) -> dict[str, float]:
        """How searches were answered."""
        counts = self.metrics.counts().items()
        return {labels[0]: value for (name, labels), value in counts if name == "index_answer"}


class Restless:
    """An index whose engine is fed, disturbed or away before each search, by turns."""

    def __init__(self, rig: Rig, *turns: str) -> None:
        self.rig = rig
        self._turns = turns
        self._searches = 0

    async def search(self, project: Project, probe: Probe) -> Found:
        turn = self._turns[self._searches % len(self._turns)]
        self._searches += 1
        self.rig.faults.away = False
        if turn == "fed":
            with suppress(IndexUnavailableError):  # it is tried again later
                await self.rig.feeder.round()
        elif turn == "wiped":
            self.rig.wipe()
        elif turn == "away":
            self.rig.faults.away = True
        elif turn == "failing":
            self.rig.faults.fail_at = self.rig.faults.calls + 1 + self._searches % 3
        return await self.rig.index.search(project, probe)

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        return await self.rig.index.names(project, entities)

    async def close(self) -> None:
        await self.rig.index.close()
