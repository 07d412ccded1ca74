"""What shards make once their points are there: all at once, whoever is away."""

from __future__ import annotations

import time

import pytest

from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.backends.sharded.member import Member
from holdfast.backends.sharded.optimizing import optimize_each, optimizing_of
from holdfast.core.breaker import BreakerBounds
from holdfast.errors import IndexUnavailableError
from holdfast.model import OnProgress
from holdfast.testing.contracts.values import SPACE


class Graphed(MemoryVectors):
    away = False
    points = 0
    done = 0

    async def optimize(self, told: OnProgress | None = None) -> None:
        if self.away:
            raise IndexUnavailableError("A planted failure.")
        self.done = self.points
        if told is not None:
            told(self.done, self.points)

    async def optimizing(self) -> int | None:
        if self.away:
            raise IndexUnavailableError("A planted failure.")
        return self.done or None


def member(name: str, points: int, *, away: bool = False) -> tuple[Member, Graphed]:
    engine = Graphed(Engine(), name)
    engine.points, engine.away = points, away
    return Member(name, engine, BreakerBounds(), time.monotonic), engine


async def test_every_shard_makes_its_own_and_what_is_told_is_the_sum() -> None:
    (one, first), (two, second) = member("a", 30), member("b", 12)
    plain = Member("c", MemoryVectors(Engine(), "c"), BreakerBounds(), time.monotonic)
    steps: list[tuple[int, int]] = []
    assert await optimizing_of([one, two, plain], SPACE) is None
    await optimize_each([one, two, plain], SPACE, lambda done, total: steps.append((done, total)))
    assert (first.done, second.done, steps[-1]) == (30, 12, (42, 42))
    assert await optimizing_of([one, two, plain], SPACE) == 42


async def test_one_that_is_away_does_not_keep_the_others_and_is_told() -> None:
    (one, _), (two, second) = member("a", 30, away=True), member("b", 12)
    with pytest.raises(IndexUnavailableError):
        await optimize_each([one, two], SPACE, None)
    assert second.done == 12
    assert await optimizing_of([one, two], SPACE) == 12
