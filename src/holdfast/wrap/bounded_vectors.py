"""A vector database whose calls go through a gate (`wrap.gate`).

Every call of `ports.Vectors` may be repeated: reads are reads, `put` replaces and `remove` passes
over what is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from holdfast import limits
from holdfast.core.breaker import BreakerBounds
from holdfast.errors import IndexUnavailableError
from holdfast.metrics import Metrics
from holdfast.model import Entity, OnProgress, Project, Space
from holdfast.ports import Match, Optimizes, Point, TermMatches, Vectors
from holdfast.wrap.gate import Bounds, Gate

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

VECTORS_BOUNDS = Bounds(
    timeout_s=limits.INDEX_TIMEOUT_S,
    tries_max=3,
    backoff_s=0.05,
    backoff_max_s=1.0,
    concurrency_max=limits.INDEX_CALLS_MAX,
    patience_s=0.5,
)
"""Of an index that answers in milliseconds."""


def index_gate(
    metrics: Metrics, bounds: Bounds = VECTORS_BOUNDS, *, breaker: BreakerBounds | None = None
) -> Gate:
    """What stands before one engine, for all its collections; `breaker`: in place of that of
    `bounds`."""
    return Gate(
        replace(bounds, breaker=breaker or bounds.breaker),
        away=IndexUnavailableError,
        told=partial(metrics.called, "index"),
        noted=partial(metrics.count, "call_event", "index"),
    )


class BoundedVectors:
    """A vector database whose calls end in time and do not pile up while it is away."""

    def __init__(self, inner: Vectors, gate: Gate, bounds: Bounds = VECTORS_BOUNDS) -> None:
        """`gate`: of `bounds` and of the engine; see `index_gate`."""
        self.name = inner.name
        self.settles_s = inner.settles_s
        self.inner = self._inner = inner
        """What is bounded."""
        self._timeout_s = bounds.timeout_s
        self._gate = gate

    async def open(self, space: Space) -> None:
        """As the inner one; it may take longer than other calls, for collections are made here."""
        timeout_s = limits.INDEX_OPEN_TIMEOUT_S
        await self._gate.run(self.name, timeout_s, lambda _: self._inner.open(space))

    async def put(self, project: Project, points: Sequence[Point]) -> None:
        """As the inner one."""
        await self._write(lambda: self._inner.put(project, points))

    async def remove(self, project: Project, ids: Sequence[str]) -> None:
        """As the inner one."""
        await self._write(lambda: self._inner.remove(project, ids))

    async def nearest(
        self, project: Project, entity: Entity, vector: np.ndarray, limit: int
    ) -> list[Match]:
        """As the inner one."""

        async def ask() -> list[Match]:
            found = await self._inner.nearest(project, entity, vector, limit)
            return self._checked(found, all(isfinite(one.score) for one in found))

        return await self._read(ask)

    async def holders(
        self, project: Project, entity: Entity, terms: Sequence[Sequence[int]], limit: int
    ) -> list[TermMatches]:
        """As the inner one."""

        async def ask() -> list[TermMatches]:
            found = await self._inner.holders(project, entity, terms, limit)
            counted = all(one.rows is None or one.rows >= 0 for one in found)
            return self._checked(found, counted and len(found) == len(terms))

        return await self._read(ask)

    async def marks(
        self, project: Project, after: str | None, size: int
    ) -> tuple[list[tuple[str, int]], str | None]:
        """As the inner one."""
        return await self._read(lambda: self._inner.marks(project, after, size))

    async def count(self, project: Project | None) -> int:
        """As the inner one."""
        return await self._read(lambda: self._inner.count(project))

    async def clear(self, project: Project | None) -> None:
        """As the inner one."""
        await self._write(lambda: self._inner.clear(project))

    async def optimize(self, told: OnProgress | None = None) -> None:
        """As the inner one, as long as it takes; nothing, if that has nothing to make."""
        if isinstance(self._inner, Optimizes):
            await self._inner.optimize(told)

    async def optimizing(self) -> int | None:
        """As the inner one."""
        inner = self._inner
        return await self._read(inner.optimizing) if isinstance(inner, Optimizes) else None

    async def close(self) -> None:
        """Close the inner one."""
        await self._inner.close()

    def _checked(self, found: T, makes_sense: bool) -> T:
        if not makes_sense:
            raise IndexUnavailableError(f"{self.name} answers what makes no sense.")
        return found

    async def _read(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._gate.run(
            self.name, self._timeout_s, lambda _: call(), try_s=self._timeout_s / 3
        )

    async def _write(self, call: Callable[[], Awaitable[None]]) -> None:
        await self._gate.run(self.name, limits.INDEX_WRITE_TIMEOUT_S, lambda _: call())
