"""The index of the embedded store: exact ranking over one entity's rows, kept warm in memory.

Nothing is stored here. A working set is read from the records when an entity is first searched,
is exactly as new as the entity's generation, and is refreshed by what changed since.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from itertools import compress, zip_longest

import numpy as np

from holdfast.backends.index.working_set import (
    Warm,
    aligned,
    bytes_of,
    merged,
    ranked,
    told_by,
    without,
)
from holdfast.core.view import EntityView
from holdfast.errors import EntityTooLargeError
from holdfast.limits import VIEW_ROWS_MAX
from holdfast.metrics import Metrics
from holdfast.model import Entity, Memory, Project
from holdfast.ports import Delta, EntityState, Found, Hit, Probe, Records, SpaceSwitched

INLINE_ROWS_MAX = 4_000
"""Working sets up to this size are ranked on the event loop; larger ones in a thread."""

Key = tuple[Project, Entity]


class EmbeddedIndex:
    """Ranks in this process, on working sets read from the records."""

    def __init__(
        self,
        records: Records,
        dimensions: int,
        bytes_max: int,
        rows_max: int = VIEW_ROWS_MAX,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        """`bytes_max`: of all working sets that are kept. `rows_max`: of one; a search that needs a
        larger one is refused, for it would take all the memory there is."""
        self._metrics = metrics or Metrics()
        self._metrics.gauge("working_set_bytes", lambda: self._bytes)
        self._metrics.gauge("working_sets", lambda: len(self._warm))
        self._records = records
        self._dimensions = dimensions
        self._bytes_max = bytes_max
        self._rows_max = rows_max
        self._warm: OrderedDict[Key, Warm] = OrderedDict()
        self._bytes = 0
        self._loading: dict[Key, asyncio.Task[Warm]] = {}

    async def search(
        self, project: Project, probe: Probe, known: Sequence[EntityState] = ()
    ) -> Found:
        hits: list[Hit] = []
        for entity, state in zip_longest(probe.entities, known):
            warm = await self._current(project, entity, state)
            if probe.epoch not in (None, warm.epoch):
                raise SpaceSwitched
            if len(warm.memories) > INLINE_ROWS_MAX:
                hits += await asyncio.to_thread(ranked, warm, probe, entity)
            else:
                hits += ranked(warm, probe, entity)
        return Found(hits=tuple(hits if len(probe.entities) == 1 else merged(hits, probe.limit)))

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        found: set[int] = set()
        for entity in entities:
            found.update(await self.names_of(project, entity))
        return found

    async def names_of(
        self, project: Project, entity: Entity, known: EntityState | None = None
    ) -> Iterable[int]:
        """`names` of one entity; `known`: how it stands, if that was looked up for it."""
        return (await self._current(project, entity, known)).view.name_terms

    def is_warm(self, project: Project, entity: Entity, rows_max: int) -> bool:
        """Whether a working set of the entity is in memory, of at most so many rows."""
        warm = self._warm.get((project, entity))
        return warm is not None and len(warm.memories) <= rows_max

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        """`close` for callers without an event loop."""
        self._warm.clear()
        self._bytes = 0

    async def _current(
        self, project: Project, entity: Entity, known: EntityState | None = None
    ) -> Warm:
        """The entity's working set, as new as its last committed write; `known`: how it stands."""
        key = (project, entity)
        warm = self._warm.get(key)
        while True:
            state = known or await self._records.state(project, entity)
            known = None
            generation = state.generation
            self._refuse_larger(entity, state.memories)
            if warm is not None and (warm.generation, warm.epoch) == (generation, state.epoch):
                if key in self._warm:
                    self._warm.move_to_end(key)
                self._metrics.count("working_set_lookup", "hit")
                return warm
            task = self._loading.get(key)
            if task is None or task.done():  # done, but its callback has not run yet
                task = asyncio.create_task(self._refresh(key, warm))
                self._loading[key] = task
                task.add_done_callback(lambda _: self._loading.pop(key, None))
            # shielded: another caller may wait for the same working set
            warm = await asyncio.shield(task)
            # generation 0 is after a reset: what was loaded before it, or since, is not trusted
            if warm.generation >= generation > 0 and warm.epoch >= state.epoch:
                return warm

    def _refuse_larger(self, entity: Entity, rows: int) -> None:
        if rows > self._rows_max:  # how many is not told: those outside of a fence are among them
            raise EntityTooLargeError(
                f"{entity.kind}_id {entity.id!r} has more memories than are ranked in one process "
                f"({self._rows_max:,}).",
                hint="Name a user, agent, app or run that has fewer, raise `view_rows_max` if "
                "there is memory for them, or choose an external index.",
            )

    async def _refresh(self, key: Key, old: Warm | None) -> Warm:
        project, entity = key
        self._metrics.count("working_set_lookup", "load" if old is None else "refresh")
        since, epoch = (None, None) if old is None else (old.generation, old.epoch)
        delta = await self._records.delta(project, entity, since, epoch)
        size = len(delta.entries) + (0 if old is None or delta.complete else len(old.memories))
        if size > INLINE_ROWS_MAX:
            warm = await asyncio.to_thread(_updated, old, delta, self._dimensions)
        else:
            warm = _updated(old, delta, self._dimensions)
        self._keep(key, warm)
        return warm

    def _keep(self, key: Key, warm: Warm) -> None:
        """Remember a working set, and forget the longest unused ones above the bound."""
        replaced = self._warm.pop(key, None)
        self._bytes += warm.nbytes - (0 if replaced is None else replaced.nbytes)
        self._warm[key] = warm
        while self._bytes > self._bytes_max and len(self._warm) > 1:
            _, dropped = self._warm.popitem(last=False)
            self._bytes -= dropped.nbytes


def _updated(old: Warm | None, delta: Delta, dimensions: int) -> Warm:
    if old is None or delta.complete:
        return Warm.of(delta, dimensions)
    if _appends(old, delta):
        view = old.view.extended(delta.entries)
        added = aligned(view.ids[len(old.memories) :], delta.memories)
        nbytes = old.text_bytes + bytes_of(added)
        told = told_by(old.told, delta)
        return Warm(view, old.memories + added, delta.generation, told, nbytes, epoch=delta.epoch)
    view = old.view.changed(delta.removed, delta.entries)
    memories, nbytes = _changed(old, view, delta)
    gone = {*delta.removed, *(entry.id for entry in delta.entries)}
    told = told_by(without(old.told, gone), delta)
    return Warm(view, memories, delta.generation, told, nbytes, epoch=delta.epoch)


def _changed(old: Warm, view: EntityView, delta: Delta) -> tuple[tuple[Memory, ...], int]:
    """The memory of each row of a changed view, and their bytes; those that stay are not touched,
    for at 100,000 of them that is most of the time."""
    seq = view.columns.seq
    fresh = np.isin(seq, [entry.seq for entry in delta.entries])
    stays = np.isin(old.view.columns.seq, seq[~fresh])
    kept = list(compress(old.memories, stays.tolist()))
    positions = np.flatnonzero(fresh).tolist()
    added = aligned([view.ids[position] for position in positions], delta.memories)
    memories: list[Memory] = []
    taken = 0
    for number, (position, memory) in enumerate(zip(positions, added, strict=True)):
        memories += kept[taken : position - number]
        memories.append(memory)
        taken = position - number
    memories += kept[taken:]
    gone = bytes_of(compress(old.memories, (~stays).tolist()))
    return tuple(memories), old.text_bytes - gone + bytes_of(added)


def _appends(old: Warm, delta: Delta) -> bool:
    """Whether the changes are only new rows behind the old ones."""
    if delta.removed or not all(old.view.accepts(entry) for entry in delta.entries):
        return False
    return {entry.id for entry in delta.entries}.isdisjoint(old.view.ids)
