"""The reference of `ports.Vectors`: points in a dict, everything compared with everything.

It defines what the port means, and stands for an engine in tests. Nothing outlives the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from holdfast.core.points import vector_of
from holdfast.core.view import BM25_B, BM25_K1
from holdfast.errors import (
    ClosedError,
    IndexUnavailableError,
    SpaceMismatchError,
)
from holdfast.model import ANY, Entity, Project, Space
from holdfast.ports import Match, Point, TermMatches

Key = tuple[Project, str]


@dataclass
class Collection:
    """What one collection holds."""

    dimensions: int
    points: dict[Key, Point] = field(default_factory=dict)


@dataclass
class Engine:
    """A vector database: its collections by name."""

    collections: dict[str, Collection] = field(default_factory=dict)


class MemoryVectors:
    """A collection of an engine in this process."""

    settles_s = 0.0

    def __init__(self, engine: Engine, collection: str) -> None:
        self.name = f"memory:{collection}"
        self._engine = engine
        self._collection = collection
        self._closed = False

    async def open(self, space: Space) -> None:
        self._alive()
        known = self._engine.collections.setdefault(self._collection, Collection(space.dimensions))
        if known.dimensions != space.dimensions:
            raise SpaceMismatchError(
                f"{self.name} holds vectors of {known.dimensions} dimensions, "
                f"not {space.dimensions}.",
                hint="Choose another collection.",
            )

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        held = self._held()
        for point in points:
            vector_of(point, held.dimensions)
        held.points.update({(project, point.id): point for point in points})

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        points = self._held().points
        for id_ in ids:
            points.pop((project, id_), None)

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        scores = [
            Match(id=point.id, score=float(np.frombuffer(point.vector, "<f4") @ vector))
            for point in self._of(project, entity)
            if point.vector is not None
        ]
        return _best(scores, limit)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        own = self._of(project, entity)
        average = max(1.0, sum(len(point.terms) >> 3 for point in own) / max(1, len(own)))
        found = []
        for alternatives in terms:
            scores = [Match(id=p.id, score=_share(p, alternatives, average)) for p in own]
            holding = [match for match in scores if match.score]
            found.append(TermMatches(matches=tuple(_best(holding, limit)), rows=len(holding)))
        return found

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        # the cursor is a sign and the last id, so that "" is an id as well
        last = None if after is None else after[1:]
        own = sorted(p.id for p in self._all(project) if last is None or p.id > last)
        points = self._held().points
        page = [(id_, points[project, id_].mark) for id_ in own[:size]]
        return page, f">{page[-1][0]}" if page and len(own) > size else None

    async def count(self, project: Project | None) -> int:
        return sum(1 for owner, _ in self._held().points if project in (None, owner))

    async def clear(self, project: Project | None) -> None:
        self._alive()
        if project is None:
            self._engine.collections.pop(self._collection, None)
            return
        points = self._held().points
        for key in [key for key in points if key[0] == project]:
            del points[key]

    async def close(self) -> None:
        self._closed = True

    def _alive(self) -> None:
        if self._closed:
            raise ClosedError("The vector index is closed.")

    def _held(self) -> Collection:
        self._alive()
        held = self._engine.collections.get(self._collection)
        if held is None:
            raise IndexUnavailableError(f"{self.name} is not there.", hint="Open it first.")
        return held

    def _all(self, project: Project) -> list[Point]:
        return [point for (owner, _), point in self._held().points.items() if owner == project]

    def _of(self, project: Project, entity: Entity) -> list[Point]:
        """The points of an entity; of all of its kind for the id "*"."""
        return [point for point in self._all(project) if _belongs(point, entity)]


def _belongs(point: Point, entity: Entity) -> bool:
    return any(each.kind == entity.kind and entity.id in (ANY, each.id) for each in point.entities)


def _share(point: Point, alternatives: Sequence[int], average: float) -> float:
    """BM25's share of a word, in 0..1; 0.0 if the point does not have it."""
    terms = np.frombuffer(point.terms, "<u8")
    count = int(np.isin(terms, np.array(alternatives, dtype=np.uint64)).sum())
    if not count:
        return 0.0
    return count / (count + BM25_K1 * (1.0 - BM25_B + BM25_B * len(terms) / average))


def _best(matches: Iterable[Match], limit: int) -> list[Match]:
    return sorted(matches, key=lambda match: -match.score)[:limit]
