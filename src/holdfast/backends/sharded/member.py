"""One shard of a sharded index: opened when it can be, left alone while it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from holdfast.backends.together import worst
from holdfast.core.breaker import Breaker, BreakerBounds
from holdfast.errors import IndexUnavailableError
from holdfast.model import Space
from holdfast.ports import Vectors

T = TypeVar("T")
Clock = Callable[[], float]
"""Seconds of a clock that does not go back."""


class Member:
    """A shard as one instance sees it."""

    def __init__(self, name: str, engine: Vectors, bounds: BreakerBounds, clock: Clock) -> None:
        self.name = name
        self.engine = engine
        self._breaker = Breaker(bounds)
        self._clock = clock
        self._opened = False
        self._opening = asyncio.Lock()

    async def open(self, space: Space) -> None:
        """Open the engine, again if it is open: its collection may have been dropped."""
        self._opened = False
        await self._guarded(lambda: self._open(space))

    async def run(self, space: Space, call: Callable[[Vectors], Awaitable[T]]) -> T:
        """A call of the engine, which is opened first if it was away so far.

        Raises what the call raises; IndexUnavailableError at once while the shard is left alone.
        """
        if not self._opened:
            await self._guarded(lambda: self._open(space))
        return await self._guarded(lambda: call(self.engine))

    async def drop(self) -> None:
        """Drop the shard's collection."""
        await self._guarded(lambda: self.engine.clear(None))
        self._opened = False

    async def _open(self, space: Space) -> None:
        async with self._opening:
            if not self._opened:
                await self.engine.open(space)
                self._opened = True

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        permit = self._breaker.admit(self._clock())
        if permit is None:
            left = IndexUnavailableError(
                f"The shard {self.name} has failed and is left alone for a moment.",
                retry_after_s=self._breaker.wait_s(self._clock()),
            )
            left.whole = False
            raise left
        success: bool | None = None  # cancelled, or refused: that says nothing of its health
        try:
            result = await call()
            success = True
        except IndexUnavailableError as error:
            success = False
            error.whole = False
            raise
        finally:
            self._breaker.ended(permit, self._clock(), success)
        return result


async def tell(
    members: Mapping[str, Member],
    space: Space,
    items: Mapping[str, Sequence[T]],
    call: Callable[[Vectors, Sequence[T]], Awaitable[None]],
) -> None:
    """`tell_each`; raises what went wrong, when all have ended."""
    failed = await tell_each(members, space, items, call)
    if failed:
        raise worst(failed.values())


async def tell_each(
    members: Mapping[str, Member],
    space: Space,
    items: Mapping[str, Sequence[T]],
    call: Callable[[Vectors, Sequence[T]], Awaitable[None]],
    within_s: float | None = None,
) -> dict[str, Exception]:
    """Tell several shards at once, each its own items, those without any nothing; what went wrong
    with which. One that is down or slow keeps none of the others."""

    async def one(name: str, own: Sequence[T]) -> None:
        async def bounded(engine: Vectors) -> None:
            try:
                async with asyncio.timeout(within_s):
                    await call(engine, own)
            except TimeoutError:
                late = f"The shard {name} gave no answer within {within_s} s."
                raise IndexUnavailableError(late) from None

        await members[name].run(space, bounded)

    asked = {name: own for name, own in items.items() if own}
    ended = await asyncio.gather(
        *(one(name, own) for name, own in asked.items()), return_exceptions=True
    )
    failed: dict[str, Exception] = {}
    for name, error in zip(asked, ended, strict=True):
        if isinstance(error, Exception):
            failed[name] = error
        elif error is not None:
            raise error
    return failed
