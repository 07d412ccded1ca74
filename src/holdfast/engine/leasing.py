"""One process at a time: a lease that is a named number in the record store."""

from __future__ import annotations

from holdfast.clock import Clock
from holdfast.ports import IndexSource


class Lease:
    """The number is the time, in milliseconds, until which the lease is somebody's.

    Only who knows the number can change it, and only one of those who find it past. Clocks of
    different machines may differ: what is done under it must do no harm if done twice.
    """

    def __init__(self, source: IndexSource, name: str, clock: Clock, seconds: float) -> None:
        self._source = source
        self._name = name
        self._clock = clock
        self._seconds = seconds
        self._until: int | None = None
        self._asked: set[int] = set()
        """What was asked for without an answer, because whoever asked was cancelled: any of these
        may have been given, or may yet be."""

    async def hold(self) -> bool:
        """Take it, or keep it for a while longer; False if it is another process's."""
        now = self._clock.now()
        if self._until is not None and self._until > 1000 * (now + self._seconds / 2):
            return True
        until = round(1000 * (now + self._seconds))
        known = self._until
        for _ in range(1 + len(self._asked)):
            if known is None:
                known = await self._source.number(self._name)
                if known is not None and known > 1000 * now and known not in self._asked:
                    return False
            if await self._moved(known, until):
                return True
            known = None
        return False

    async def release(self) -> None:
        """Let another process have it at once."""
        held = self._asked if self._until is None else {*self._asked, self._until}
        for until in sorted(held):
            await self._source.move(self._name, until, None)
        self.forget()

    def forget(self) -> None:
        """It was lost."""
        self._until = None
        self._asked.clear()

    async def _moved(self, known: int | None, until: int) -> bool:
        self._asked.add(until)
        self._until = until if await self._source.move(self._name, known, until) else None
        self._asked.discard(until)
        return self._until is not None
