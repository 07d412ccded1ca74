"""Answers of searches, kept as long as nothing they depend on has changed.

What an answer depends on is its key: the generations of the entities it was found among, which
every write to them changes and no later one brings back; the epoch of the embedding spaces; the
whole question; the day, since
memories expire at the end of one; and the version of the ranking. So nothing is ever made invalid:
an answer is exactly right, or nobody asks for it by its key any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.core.lru import Lru
from holdfast.core.packing import Packing
from holdfast.errors import HoldfastError
from holdfast.limits import CACHE_WRITES_MAX, CACHED_ANSWER_BYTES_MAX, CACHED_ENTITIES_MAX
from holdfast.metrics import Metrics
from holdfast.model import Entity, Project
from holdfast.ports import (
    Cache,
    EntityState,
    Found,
    Index,
    Probe,
    QueryEmbedding,
    Records,
    SpaceSwitched,
)
from holdfast.wrap.flights import Afterwards, Flights

if TYPE_CHECKING:
    import numpy as np

_DAY_S: Final = 86_400
_HIT_BYTES: Final = 800
"""Estimate of what a hit takes in memory beside its values."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Found).decode


class CachedIndex:
    """An index that remembers what it found: in this process as it is, elsewhere as bytes."""

    def __init__(
        self,
        inner: Index,
        records: Records,
        cache: Cache,
        packing: Packing,
        *,
        ranking: bytes,
        bytes_max: int,
        ttl_s: float,
        metrics: Metrics | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ranking` tells versions of ranking, and settings that bear on it, apart. `bytes_max`
        bounds what is kept in this process; `cache` is used if it is shared."""
        self._inner = inner
        self._records = records
        self._cache = cache
        self._packing = packing
        self._ranking = ranking
        self._near: Lru[Found] = Lru(bytes_max)
        self._ttl_s = ttl_s
        self._metrics = metrics or Metrics()
        self._now = now
        self._flights: Flights[Found] = Flights()
        self._afterwards = Afterwards(CACHE_WRITES_MAX)

    @property
    def nbytes(self) -> int:
        """Bytes held in this process, as estimated."""
        return self._near.nbytes

    async def search(
        self, project: Project, probe: Probe, known: Sequence[EntityState] = ()
    ) -> Found:
        if not 0 < len(probe.entities) <= CACHED_ENTITIES_MAX:
            return await self._inner.search(project, probe, known)
        states = await self._states(project, probe)
        generations = _generations(states)
        if generations is None or probe.embedding is None:  # the embedder is away: it passes
            return await self._inner.search(project, probe, states)
        name = self._packing.name(
            "answer", self._ranking, _said(project, probe, generations), *_seen(probe.embedding)
        )
        found = self._near.get(name, self._now())
        if found is not None:
            self._metrics.count("cache_lookup", "answer", "hit")
            return found
        if name in self._flights:
            self._metrics.count("cache_lookup", "answer", "joined")
        return await self._flights.run(name, lambda _: self._find(name, project, probe, states))

    async def _states(self, project: Project, probe: Probe) -> list[EntityState]:
        """How each entity stands."""
        states = [await self._records.state(project, entity) for entity in probe.entities]
        if any(probe.epoch not in (None, state.epoch) for state in states):
            raise SpaceSwitched
        return states

    async def _find(
        self, name: str, project: Project, probe: Probe, states: Sequence[EntityState]
    ) -> Found:
        if self._cache.shared:
            [value] = await self._cache.get([name])
            found = self._unpacked(name, value)
            if found is not None:
                self._metrics.count("cache_lookup", "answer", "shared_hit")
                self._keep_near(name, found, len(value or b""))
                return found
        self._metrics.count("cache_lookup", "answer", "miss")
        found = await self._inner.search(project, probe, states)
        if not found.degraded:
            self._afterwards.do(self._keep(name, found, project, probe, states))
        return found

    async def _keep(
        self,
        name: str,
        found: Found,
        project: Project,
        probe: Probe,
        states: Sequence[EntityState],
    ) -> None:
        """Keep an answer, if nothing was written since its key was made: it may be of what came."""
        payload = _packed(found)
        if payload is None or len(payload) > CACHED_ANSWER_BYTES_MAX:
            return
        try:
            if _generations(await self._states(project, probe)) != _generations(states):
                return
        except (HoldfastError, SpaceSwitched):  # or the store went away meanwhile, or was closed
            return
        self._keep_near(name, found, len(payload))
        if self._cache.shared:
            await self._cache.put({name: self._packing.pack(name, payload)}, self._ttl_s)

    def _keep_near(self, name: str, found: Found, packed_bytes: int) -> None:
        size = 2 * packed_bytes + _HIT_BYTES * len(found.hits)
        self._near.put(name, found, size, self._now() + self._ttl_s)

    def _unpacked(self, name: str, value: bytes | None) -> Found | None:
        if value is None:
            return None
        payload = self._packing.unpack(name, value)
        try:
            if payload is not None:
                return _decode(payload)
        except msgspec.MsgspecError:
            pass  # counted below, with what has no good mark
        self._metrics.count("cache_failure", "damaged")
        return None

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        return await self._inner.names(project, entities)

    async def settle(self) -> None:
        """Wait until what was found is kept, for those who measure."""
        await self._afterwards.settle()

    def clear(self) -> None:
        """Forget what is kept in this process."""
        self._near.clear()

    async def close(self) -> None:
        await self._afterwards.close()
        self._near.clear()
        await self._inner.close()

    def close_now(self) -> None:
        """Give up what is not kept yet, without waiting; the inner index is closed by its owner."""
        self._afterwards.cancel()
        self._near.clear()


def _generations(states: Sequence[EntityState]) -> list[int] | None:
    """Of each entity, behind the epoch of the embedding spaces; None for a search whose answer is
    not to be kept.

    An entity nothing was written to is at generation 0, and is so again after a reset: that number
    alone comes back, and is no key.
    """
    found = [state.generation for state in states]
    return [states[0].epoch, *found] if all(found) else None


def _said(project: Project, probe: Probe, generations: list[int]) -> bytes:
    """Everything of a search that bears on its answer, its vector aside."""
    view = probe.view
    passing = not view.show_expired and view.as_of is None  # what is expired depends on the day
    day = int(view.now // _DAY_S) if passing else None
    return _encode(
        (
            project,
            [(entity.kind, entity.id) for entity in probe.entities],
            generations,
            probe.filter,
            probe.fence,
            (day, view.as_of, view.show_expired, view.show_superseded, view.listed_only),
            probe.query,
            probe.limit,
            probe.explain,
        )
    )


def _seen(embedding: QueryEmbedding) -> tuple[bytes, ...]:
    """A question's vector and those of its pieces, as bytes."""
    vector = _floats(embedding.vector)
    if embedding.pieces is None:
        return (vector,)
    return vector, _floats(embedding.pieces), _encode(embedding.spans)


def _floats(array: np.ndarray) -> bytes:
    return array.tobytes()


def _packed(found: Found) -> bytes | None:
    """An answer as bytes; None if it holds a number that MessagePack has no form for."""
    try:
        return _encode(found)
    except OverflowError:
        return None
