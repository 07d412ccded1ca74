"""`ports.Collections` for any engine: the numbered collections of an index, opened on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.errors import ClosedError
from holdfast.model import Space
from holdfast.ports import Vectors


class Builds:
    """Opens the collections of an index as they are asked for, and keeps them open.

    The first, number 0, is called like the index; a later one has its number behind the name.
    """

    def __init__(
        self,
        make: Callable[[str], Vectors],
        name: str,
        space: Space,
        space_of: Callable[[int], Awaitable[Space]] | None = None,
    ) -> None:
        """`space_of`: that of each collection, if they are not all of the same."""
        self.name = name
        self._space_of = space_of
        self._make = make
        self._space = space
        self._open: dict[int, Vectors] = {}
        self._opening = asyncio.Lock()
        self._closed = False

    async def of(self, build: int) -> Vectors:
        """The collection of this number, open. Raises what `Vectors.open` does."""
        known = self._open.get(build)
        if known is not None:
            return known
        async with self._opening:
            if self._closed:
                raise ClosedError("The index is closed.")
            if build not in self._open:
                made = self._make(self.name if build == 0 else f"{self.name}_{build}")
                try:
                    space = self._space
                    if self._space_of is not None:
                        space = await self._space_of(build)
                    await made.open(space)
                except BaseException:
                    await made.close()
                    raise
                self._open[build] = made
            return self._open[build]

    def opened(self, build: int) -> Vectors | None:
        """The collection of this number, if it is open already."""
        return self._open.get(build)

    async def drop(self, build: int) -> None:
        """Remove a collection that is not used any more from its engine."""
        vectors = await self.of(build)
        await vectors.clear(None)
        self._open.pop(build, None)
        await vectors.close()

    async def close(self) -> None:
        """Release every connection. Idempotent."""
        self._closed = True
        while self._open:
            _, vectors = self._open.popitem()
            await vectors.close()
