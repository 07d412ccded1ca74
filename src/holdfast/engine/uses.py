"""When keys were used last: noted in memory, written now and then, never while a caller waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from holdfast.directory import ApiKey, KeyUse, Where
from holdfast.engine.parts import Parts
from holdfast.errors import ConflictError, HoldfastError
from holdfast.limits import KEY_USE_S

_KEPT_MAX = 10_000

_log = logging.getLogger("holdfast.keys")


class Uses:
    """The uses of keys that this process saw; each key is written once in KEY_USE_S at most."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._seen: dict[str, KeyUse] = {}
        self._written: dict[str, float] = {}

    def note(self, key: ApiKey, at: float) -> None:
        """A key is used now."""
        self._seen[key.id] = KeyUse(id=key.id, project=key.project, at=at)

    async def write(self, *, everything: bool = False) -> None:
        """Store the uses of keys that were not written lately, or of all. Raises StoreError."""
        now = self._parts.clock.now()
        if len(self._written) >= _KEPT_MAX:
            self._written.clear()
        due = [
            use
            for use in self._seen.values()
            if everything or now - self._written.get(use.id, -KEY_USE_S) >= KEY_USE_S
        ]
        await asyncio.gather(*(self._store(use) for use in due))
        for use in due:
            self._written[use.id] = now
            if self._seen.get(use.id) is use:
                del self._seen[use.id]

    async def serve(self) -> None:
        """Write from time to time, until cancelled."""
        while True:
            await asyncio.sleep(KEY_USE_S / 5)
            try:
                await self.write()
            except HoldfastError as error:  # the next time writes what this one could not
                _log.warning("the last uses of keys are not written: %s", error.code)

    async def _store(self, use: KeyUse) -> None:
        mine = (Where("id", use.id), Where("at", use.at, "lte"))
        if not await self._parts.directory.update(KeyUse, *mine, values={"at": use.at}):
            with suppress(ConflictError):  # another process saw it later
                await self._parts.directory.insert(use)


async def last_uses(parts: Parts, keys: Sequence[ApiKey]) -> Mapping[str, float]:
    """When each of these keys was used last, by its id; those that never were are not in it."""
    ids = tuple(key.id for key in keys)
    found = await parts.directory.select(KeyUse, Where("id", ids, "in")) if ids else ()
    return {use.id: use.at for use in found}
