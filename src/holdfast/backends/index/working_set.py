"""A working set: the rows of one entity with their memories, and the answer it gives to a probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from holdfast.core.population import Population
from holdfast.core.rank import rank
from holdfast.core.view import EntityView
from holdfast.filters import Everything, Filter, compile_predicate, within
from holdfast.model import Entity, Memory
from holdfast.ports import Delta, Hit, Probe, View

_OVERFETCH = 4
_STANDS_FOR = 0.5
"""A fact stands for its turn if its score is at least this share of the turn's."""
_ROW_BYTES = 600
"""Estimate of a Memory value beside its text."""

Bools = NDArray[np.bool_]
FactsOfTurns = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Warm:
    """The working set of one entity at one generation."""

    view: EntityView
    memories: tuple[Memory, ...]
    """The memory of each row of the view."""
    generation: int
    told: FactsOfTurns
    """Unlisted turns, and the facts that were taken from each; ids."""
    text_bytes: int
    """Estimate of what the memories take."""
    found: Bools | None = None
    """Rows that may be answers; the others are there as context of these. None: all."""
    population: Population | None = None
    """What is known of the entity as a whole, if these are not all its rows."""
    epoch: int = 0
    """Of the embedding spaces; see `ports.spaces`."""

    @classmethod
    def of(cls, delta: Delta, dimensions: int) -> Warm:
        """The working set of the entries of a delta."""
        view = EntityView.build(delta.entries, delta.dimensions or dimensions)
        memories = aligned(view.ids, delta.memories)
        told, nbytes = told_by({}, delta), bytes_of(memories)
        return cls(view, memories, delta.generation, told, nbytes, epoch=delta.epoch)

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


def without(told: FactsOfTurns, gone: Set[str]) -> FactsOfTurns:
    """Without the pairs that name one of these memories."""
    kept = ((turn, facts - gone) for turn, facts in told.items() if turn not in gone)
    return {turn: facts for turn, facts in kept if facts}


def told_by(told: FactsOfTurns, delta: Delta) -> FactsOfTurns:
    """With the pairs of a delta."""
    if not delta.told:
        return told
    told = dict(told)
    for turn_id, fact_id in delta.told:
        told[turn_id] = told.get(turn_id, frozenset()) | {fact_id}
    return told


def aligned(ids: Sequence[str], memories: Iterable[Memory]) -> tuple[Memory, ...]:
    """The memory of each id."""
    by_id = {memory.id: memory for memory in memories}
    return tuple([by_id[id_] for id_ in ids])


def bytes_of(memories: Iterable[Memory]) -> int:
    """Estimate of what memories take."""
    return sum([_ROW_BYTES + 2 * len(memory.text) for memory in memories])


Predicate = Callable[[Memory], bool]


def residual(wanted: Filter, entity: Entity) -> Predicate | None:
    """What is left to check once only the entity's own rows are looked at; None for nothing."""
    left = within(wanted, entity)
    return None if isinstance(left, Everything) else compile_predicate(left)


def inside(warm: Warm, fence: Filter | None, entity: Entity) -> Warm:
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
    told = without(warm.told, removed)
    return Warm(view, kept, warm.generation, told, 0, epoch=warm.epoch)


def ranked(warm: Warm, probe: Probe, entity: Entity) -> list[Hit]:
    """The best rows of one working set.

    A filter is first tried on more rows than asked for; only if too few of them pass is every row
    looked at.
    """
    warm = inside(warm, probe.fence, entity)
    predicate = residual(probe.filter, entity)
    eligible = shown(warm, probe.view)
    if predicate is None and not warm.told:
        return top(warm, probe, eligible, probe.limit)
    many = probe.limit * _OVERFETCH
    while True:
        found = top(warm, probe, eligible, many)
        passing = found if predicate is None else [hit for hit in found if predicate(hit.memory)]
        passing = once(warm, passing)
        if len(passing) >= probe.limit or len(found) < many:
            return passing[: probe.limit]
        if predicate is None:
            many *= _OVERFETCH
        else:
            mask = np.fromiter(map(predicate, warm.memories), dtype=bool, count=len(warm.memories))
            eligible, predicate = mask if eligible is None else mask & eligible, None


def once(warm: Warm, hits: list[Hit]) -> list[Hit]:
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


def top(warm: Warm, probe: Probe, eligible: Bools | None, limit: int) -> list[Hit]:
    """The best of the eligible rows."""
    ranking = rank(
        warm.view,
        probe.query,
        probe.embedding,
        eligible=eligible,
        limit=limit,
        explain=probe.explain,
        population=warm.population,
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


def shown(warm: Warm, view: View) -> Bools | None:
    """The rows a view shows, as `core.visibility.visible` defines it; None for all."""
    listed = warm.listed if view.listed_only else None
    if warm.found is not None:
        listed = warm.found if listed is None else warm.found & listed
    if view.as_of is None and warm.simple:
        return listed
    columns = warm.view.columns
    mask: Bools = np.ones(len(columns.valid_to), dtype=np.bool_)
    if view.as_of is not None:
        mask &= (columns.event_time <= view.as_of) & (columns.valid_from <= view.as_of)
    if not view.show_superseded:
        ends = columns.valid_to
        mask &= np.isinf(ends) if view.as_of is None else ends > view.as_of
    if not view.show_expired:
        mask &= columns.expires_at > (view.now if view.as_of is None else view.as_of)
    return mask if listed is None else mask & listed


def merged(hits: list[Hit], limit: int) -> list[Hit]:
    """The best of several entities; a memory of two of them counts once, with its best score."""
    best: dict[str, Hit] = {}
    for hit in sorted(hits, key=lambda hit: -hit.score):
        best.setdefault(hit.memory.id, hit)
    return list(best.values())[:limit]
