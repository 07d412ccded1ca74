"""The index of the embedded store: exact ranking over one entity's rows, kept warm in memory.

Nothing is stored here. A working set is read from the records when an entity is first searched,
is exactly as new as the entity's generation, and is refreshed by what changed since.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from holdfast.core.rank import rank
from holdfast.core.view import EntityView
from holdfast.filters import Everything, Filter, compile_predicate, within
from holdfast.metrics import Metrics
from holdfast.model import Entity, Memory, Project
from holdfast.ports import Delta, Found, Hit, Probe, Records, View

INLINE_ROWS_MAX = 4_000
"""Working sets up to this size are ranked on the event loop; larger ones in a thread."""

_OVERFETCH = 4
_STANDS_FOR = 0.5
"""A fact stands for its turn if its score is at least this share of the turn's."""
_ROW_BYTES = 600
"""Estimate of a Memory value beside its text."""

Key = tuple[Project, Entity]
Bools = NDArray[np.bool_]
Told = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Warm:
    """The working set of one entity at one generation."""

    view: EntityView
    memories: tuple[Memory, ...]
    """The memory of each row of the view."""
    generation: int
    told: Told
    """Unlisted turns, and the facts that were taken from each; ids."""
    text_bytes: int
    """Estimate of what the memories take."""

    @cached_property
    def simple(self) -> bool:
        """True if every row is current and none expires: the usual case needs no mask."""
        columns = self.view.columns
        return bool(np.isinf(columns.valid_to).all() and np.isinf(columns.expires_at).all())

    @cached_property
    def listed(self) -> Bools:
        """The rows that listings show."""
        return np.array([memory.listed for memory in self.memories], dtype=np.bool_)

    @cached_property
    def nbytes(self) -> int:
        """Bytes held, texts included."""
        return self.view.nbytes + self.text_bytes


class EmbeddedIndex:
    """Ranks in this process, on working sets read from the records."""

    def __init__(
        self,
        records: Records,
        dimensions: int,
        bytes_max: int,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._metrics.gauge("working_set_bytes", lambda: self._bytes)
        self._metrics.gauge("working_sets", lambda: len(self._warm))
        self._records = records
        self._dimensions = dimensions
        self._bytes_max = bytes_max
        self._warm: OrderedDict[Key, Warm] = OrderedDict()
        self._bytes = 0
        self._loading: dict[Key, asyncio.Task[Warm]] = {}

    async def search(self, project: Project, probe: Probe) -> Found:
        hits: list[Hit] = []
        for entity in probe.entities:
            warm = await self._current(project, entity)
            if len(warm.memories) > INLINE_ROWS_MAX:
                hits += await asyncio.to_thread(_ranked, warm, probe, entity)
            else:
                hits += _ranked(warm, probe, entity)
        return Found(hits=tuple(hits if len(probe.entities) == 1 else _merged(hits, probe.limit)))

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        found: set[int] = set()
        for entity in entities:
            found.update((await self._current(project, entity)).view.name_terms)
        return found

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        """`close` for callers without an event loop."""
        self._warm.clear()
        self._bytes = 0

    async def _current(self, project: Project, entity: Entity) -> Warm:
        """The entity's working set, as new as its last committed write."""
        key = (project, entity)
        warm = self._warm.get(key)
        while True:
            generation = (await self._records.state(project, entity)).generation
            if warm is not None and warm.generation == generation:
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
            if warm.generation >= generation > 0:
                return warm

    async def _refresh(self, key: Key, old: Warm | None) -> Warm:
        project, entity = key
        self._metrics.count("working_set_lookup", "load" if old is None else "refresh")
        delta = await self._records.delta(project, entity, None if old is None else old.generation)
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
        view = EntityView.build(delta.entries, dimensions)
        memories = _aligned(view.ids, delta.memories)
        return Warm(view, memories, delta.generation, _told({}, delta), _text_bytes(memories))
    if _appends(old, delta):
        view = old.view.extended(delta.entries)
        added = _aligned(view.ids[len(old.memories) :], delta.memories)
        text_bytes = old.text_bytes + _text_bytes(added)
        return Warm(
            view, old.memories + added, delta.generation, _told(old.told, delta), text_bytes
        )
    view = old.view.changed(delta.removed, delta.entries)
    memories, text_bytes = _changed(old, view, delta)
    gone = {*delta.removed, *(entry.id for entry in delta.entries)}
    told = _told(_without(old.told, gone), delta)
    return Warm(view, memories, delta.generation, told, text_bytes)


def _changed(old: Warm, view: EntityView, delta: Delta) -> tuple[tuple[Memory, ...], int]:
    """The memory of each row of a changed view, and their bytes; those that stay are not touched,
    for at 100,000 of them that is most of the time."""
    seq = view.columns.seq
    fresh = np.isin(seq, [entry.seq for entry in delta.entries])
    stays = np.isin(old.view.columns.seq, seq[~fresh])
    kept = list(compress(old.memories, stays.tolist()))
    positions = np.flatnonzero(fresh).tolist()
    added = _aligned([view.ids[position] for position in positions], delta.memories)
    memories: list[Memory] = []
    taken = 0
    for number, (position, memory) in enumerate(zip(positions, added, strict=True)):
        memories += kept[taken : position - number]
        memories.append(memory)
        taken = position - number
    memories += kept[taken:]
    gone = _text_bytes(compress(old.memories, (~stays).tolist()))
    return tuple(memories), old.text_bytes - gone + _text_bytes(added)


def _appends(old: Warm, delta: Delta) -> bool:
    """Whether the changes are only new rows behind the old ones."""
    if delta.removed or not all(old.view.accepts(entry) for entry in delta.entries):
        return False
    return {entry.id for entry in delta.entries}.isdisjoint(old.view.ids)


def _without(told: Told, gone: Set[str]) -> Told:
    """Without the pairs that name one of these memories."""
    kept = ((turn, facts - gone) for turn, facts in told.items() if turn not in gone)
    return {turn: facts for turn, facts in kept if facts}


def _told(told: Told, delta: Delta) -> Told:
    if not delta.told:
        return told
    told = dict(told)
    for turn_id, fact_id in delta.told:
        told[turn_id] = told.get(turn_id, frozenset()) | {fact_id}
    return told


def _aligned(ids: Sequence[str], memories: Iterable[Memory]) -> tuple[Memory, ...]:
    """The memory of each id."""
    by_id = {memory.id: memory for memory in memories}
    return tuple([by_id[id_] for id_ in ids])


def _text_bytes(memories: Iterable[Memory]) -> int:
    return sum([_ROW_BYTES + 2 * len(memory.text) for memory in memories])


Predicate = Callable[[Memory], bool]


def _residual(wanted: Filter, entity: Entity) -> Predicate | None:
    """What is left to check once only the entity's own rows are looked at; None for nothing."""
    left = within(wanted, entity)
    return None if isinstance(left, Everything) else compile_predicate(left)


def _inside(warm: Warm, fence: Filter | None, entity: Entity) -> Warm:
    """The working set as if nothing were there but what is inside the fence."""
    left = Everything() if fence is None else within(fence, entity)
    if isinstance(left, Everything):
        return warm
    seen = compile_predicate(left)
    kept = tuple([memory for memory in warm.memories if seen(memory)])
    removed = {memory.id for memory in warm.memories} - {memory.id for memory in kept}
    if not removed:
        return warm
    view = warm.view.changed(removed, ())
    return Warm(view, kept, warm.generation, _without(warm.told, removed), 0)


def _ranked(warm: Warm, probe: Probe, entity: Entity) -> list[Hit]:
    """The best rows of one working set.

    A filter is first tried on more rows than asked for; only if too few of them pass is every row
    looked at.
    """
    warm = _inside(warm, probe.fence, entity)
    predicate = _residual(probe.filter, entity)
    eligible = _eligible(warm, probe.view)
    if predicate is None and not warm.told:
        return _top(warm, probe, eligible, probe.limit)
    many = probe.limit * _OVERFETCH
    while True:
        found = _top(warm, probe, eligible, many)
        passing = found if predicate is None else [hit for hit in found if predicate(hit.memory)]
        passing = _once(warm, passing)
        if len(passing) >= probe.limit or len(found) < many:
            return passing[: probe.limit]
        if predicate is None:
            many *= _OVERFETCH
        else:
            mask = np.fromiter(map(predicate, warm.memories), dtype=bool, count=len(warm.memories))
            eligible, predicate = mask if eligible is None else mask & eligible, None


def _once(warm: Warm, hits: list[Hit]) -> list[Hit]:
    """A raw turn and a fact taken from it say the same: the fact stands for both, at the better
    place, unless it answers much worse than the turn."""
    if not warm.told:
        return hits
    by_id = {hit.memory.id: hit for hit in hits}
    kept: dict[str, Hit] = {}
    for hit in hits:
        told = [by_id[fact] for fact in warm.told.get(hit.memory.id, ()) if fact in by_id]
        best = max(told, key=lambda fact: fact.score, default=None)
        if best is None or best.score < hit.score * _STANDS_FOR:
            kept.setdefault(hit.memory.id, hit)
        elif best.memory.id not in kept:
            score = max(hit.score, best.score)
            kept[best.memory.id] = Hit(memory=best.memory, score=score, parts=best.parts)
    return list(kept.values())


def _top(warm: Warm, probe: Probe, eligible: Bools | None, limit: int) -> list[Hit]:
    ranking = rank(
        warm.view,
        probe.query,
        probe.embedding,
        eligible=eligible,
        limit=limit,
        explain=probe.explain,
    )
    found = [warm.memories[row] for row in ranking.rows.tolist()]
    scores = ranking.scores.tolist()
    if not ranking.parts:
        return [Hit(memory=m, score=score) for m, score in zip(found, scores, strict=True)]
    names = list(ranking.parts)
    shares = zip(*[part.tolist() for part in ranking.parts.values()], strict=True)
    return [
        Hit(memory=memory, score=score, parts=dict(zip(names, values, strict=True)))
        for memory, score, values in zip(found, scores, shares, strict=True)
    ]


def _eligible(warm: Warm, view: View) -> Bools | None:
    """The rows a view shows, as `core.visibility.visible` defines it; None for all."""
    listed = warm.listed if view.listed_only else None
    if view.as_of is None and warm.simple:
        return listed
    columns = warm.view.columns
    if view.as_of is None:
        mask = np.isinf(columns.valid_to)
    else:
        moment = view.as_of
        mask = (columns.event_time <= moment) & (columns.valid_from <= moment)
        mask &= columns.valid_to > moment
    if not view.show_expired:
        mask &= columns.expires_at > (view.now if view.as_of is None else view.as_of)
    return mask if listed is None else mask & listed


def _merged(hits: list[Hit], limit: int) -> list[Hit]:
    """The best of several entities; a memory of two of them counts once, with its best score."""
    best: dict[str, Hit] = {}
    for hit in sorted(hits, key=lambda hit: -hit.score):
        best.setdefault(hit.memory.id, hit)
    return list(best.values())[:limit]
