"""What a sharded index needs in tests: maps and records in this process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.errors import IndexUnavailableError
from holdfast.model import Entity, Project, Space
from holdfast.ports import Match, Point, TermMatches


class MemoryShardMaps:
    """Maps in a dict."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[int, bytes]] = {}
        self.loads = 0

    async def load(self, collection: str) -> tuple[int, bytes] | None:
        self.loads += 1
        return self.stored.get(collection)

    async def save(self, collection: str, version: int, value: bytes) -> bool:
        if self.stored.get(collection, (0, b""))[0] != version:
            return False
        self.stored[collection] = (version + 1, value)
        return True

    async def forget(self, collection: str) -> None:
        self.stored.pop(collection, None)


class Truth:
    """The records: every point as it is now."""

    def __init__(self) -> None:
        self.held: dict[Project, dict[str, Point]] = {}

    def put(self, project: Project, points: Sequence[Point]) -> None:
        self.held.setdefault(project, {}).update({point.id: point for point in points})

    def remove(self, project: Project, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.held.get(project, {}).pop(id_, None)

    async def sizes(self) -> dict[Project, int]:
        return {project: len(points) for project, points in self.held.items()}

    async def point_page(self, project: Project, after: str | None, size: int) -> list[Point]:
        held = self.held.get(project, {})
        return [held[id_] for id_ in sorted(held) if after is None or id_ > after][:size]

    async def points(self, project: Project, ids: Sequence[str]) -> list[Point]:
        held = self.held.get(project, {})
        return [held[id_] for id_ in ids if id_ in held]


class Switchboard:
    """Which engines are down, what they were asked, and what happens at their calls."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        """(collection, method)"""

    def asked(self, name: str, method: str) -> None:
        self.calls.append((name, method))
        if name in self.down:
            raise IndexUnavailableError(f"{name} is down.")


class SwitchedVectors(MemoryVectors):
    """The reference engine, which can be down and counts its calls."""

    def __init__(self, engine: Engine, collection: str, board: Switchboard) -> None:
        super().__init__(engine, collection)
        self._board = board

    async def open(self, space: Space) -> None:
        self._board.asked(self._collection, "open")
        await super().open(space)

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        self._board.asked(self._collection, "put")
        await super().put(project, points)

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        self._board.asked(self._collection, "remove")
        await super().remove(project, ids)

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        self._board.asked(self._collection, "nearest")
        return await super().nearest(project, entity, vector, limit)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        self._board.asked(self._collection, "holders")
        return await super().holders(project, entity, terms, limit)

    async def clear(self, project: Project | None) -> None:
        self._board.asked(self._collection, "clear")
        await super().clear(project)
