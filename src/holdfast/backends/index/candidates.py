"""An index on a vector database: the engine names candidates, the records say what is true.

One search of one entity: where the entity and the engine stand; what the engine finds near the
question and by its words; what changed since the engine was last fed; all of that from the records,
with its context; then the ranking that the embedded index does, with the statistics of the whole
entity. What an engine lost or has not got yet, the records know.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from holdfast.backends.index.embedded import INLINE_ROWS_MAX, EmbeddedIndex
from holdfast.backends.index.working_set import Warm, merged, ranked
from holdfast.core.breaker import Breaker, BreakerBounds
from holdfast.core.candidates import (
    chosen,
    frequencies,
    intervals,
    population_of,
    with_context,
    words_of,
)
from holdfast.core.lru import Lru
from holdfast.core.matching import weighted_vector
from holdfast.core.population import worths
from holdfast.core.text import QueryTerm
from holdfast.core.view import EntityView
from holdfast.errors import ConfigError, EntityTooLargeError, HoldfastError, IndexUnavailableError
from holdfast.filters import Compare, Everything, conjunction, within
from holdfast.limits import (
    CANDIDATES_KEPT,
    CANDIDATES_NEAR,
    CANDIDATES_PER_WORD,
    EXACT_ROWS,
    INDEX_LAG_ROWS_MAX,
    INDEX_PAUSE_S,
    NAMES_BYTES_MAX,
    PAGE_SIZE_MAX,
)
from holdfast.metrics import Metrics
from holdfast.model import ANY, Entity, Project
from holdfast.ports import (
    Collections,
    Delta,
    EntityState,
    Excerpt,
    Found,
    Hit,
    IndexSource,
    Listing,
    Match,
    Probe,
    Records,
    SpaceSwitched,
    Standing,
    TermMatches,
    Vectors,
)

_LATEST = 64
"""The last rows of an entity, which tell what its rows are like whatever is asked."""
_DATED = 64
"""Memories of the times a question names."""
_ENTITIES_AT_ONCE = 8
_ONE_FAILURE = BreakerBounds(failures_in_row=1, pause_s=INDEX_PAUSE_S, pause_max_s=INDEX_PAUSE_S)
"""Of a whole call: how often its tries failed is counted by the gate before the engine."""

A = TypeVar("A")
B = TypeVar("B")

_log = logging.getLogger("holdfast.index")


@dataclass(frozen=True)
class Bounds:
    """How many candidates are looked at."""

    near: int = CANDIDATES_NEAR
    """Asked for by vector, at least."""
    per_word: int = CANDIDATES_PER_WORD
    kept: int = CANDIDATES_KEPT
    """Fetched from the records, at least."""
    exact_rows: int = EXACT_ROWS
    """Entities of up to so many rows are ranked from the records, and the engine is not asked."""


@dataclass(frozen=True)
class _Named:
    """What an engine said to a question."""

    words: list[TermMatches]
    nearest: list[Match]
    rarity: list[float]
    """Of each word asked for."""
    frequency: tuple[int, ...]
    """Of each term of the query."""
    vector: np.ndarray | None


class _Exactly(Exception):
    """The question is to be answered from all rows."""

    def __init__(self, why: str, known: EntityState | None = None) -> None:
        """`why`: in a word. `known`: how the entity stands, if it was not looked up long ago."""
        super().__init__(why)
        self.known = known


class CandidateIndex:
    """`ports.Index` on a vector database."""

    def __init__(
        self,
        records: Records,
        source: IndexSource,
        collections: Collections,
        exact: EmbeddedIndex,
        dimensions: int,
        *,
        bounds: Bounds | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._source = source
        self._collections = collections
        self._exact = exact
        self._dimensions = dimensions
        self._bounds = bounds or Bounds()
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._breaker = Breaker(_ONE_FAILURE)
        self._names: Lru[tuple[int, tuple[int, ...]]] = Lru(NAMES_BYTES_MAX)

    async def search(
        self, project: Project, probe: Probe, known: Sequence[EntityState] = ()
    ) -> Found:
        found: list[Found] = []
        every = list(zip_longest(probe.entities, known))
        for start in range(0, len(every), _ENTITIES_AT_ONCE):
            some = every[start : start + _ENTITIES_AT_ONCE]
            found += await asyncio.gather(*(self._entity(project, probe, *each) for each in some))
        hits = [hit for each in found for hit in each.hits]
        degraded = tuple(dict.fromkeys(part for each in found for part in each.degraded))
        if len(probe.entities) != 1:
            hits = merged(hits, probe.limit)
        return Found(hits=tuple(hits), degraded=degraded)

    async def names(self, project: Project, entities: Sequence[Entity]) -> Container[int]:
        names: set[int] = set()
        for entity in entities:
            names.update(await self._names_of(project, entity))
        return names

    async def _names_of(self, project: Project, entity: Entity) -> Iterable[int]:
        """Of a small entity all of them, and then it is warm; else those of the latest memories,
        which are kept until something is written."""
        if self._exact.is_warm(project, entity, self._bounds.exact_rows):
            return await self._exact.names_of(project, entity)
        standing = await self._source.standing(project, entity, self._collections.name)
        if not standing.memories:
            return ()
        if standing.memories <= self._bounds.exact_rows:
            return await self._exact.names_of(project, entity, _state_of(standing))
        key = f"{len(project)}:{project}:{entity.kind}:{entity.id}"
        generation, names = self._names.get(key, 0.0) or (0, ())
        if generation != standing.generation:
            latest = await self._source.excerpt(project, entity, (), _LATEST)
            size = latest.dimensions or self._dimensions
            names = tuple(EntityView.build(latest.entries, size).name_terms)
            # no older than the generation that was read before it
            self._names.put(key, (standing.generation, names), 36 * len(names), math.inf)
        return names

    async def close(self) -> None:
        self._names.clear()
        await self._exact.close()
        await self._collections.close()

    def close_now(self) -> None:
        """Release what can be released without an event loop: all but the connections."""
        self._names.clear()
        self._exact.close_now()

    async def _entity(
        self, project: Project, probe: Probe, entity: Entity, state: EntityState | None
    ) -> Found:
        """The answer of one entity: by candidates if that is as good, else by all its rows."""
        alone = replace(probe, entities=(entity,))
        away: HoldfastError | None = None
        known = () if state is None else (state,)
        try:
            hits = await self._by_candidates(project, probe, entity)
        except _Exactly as reason:
            self._metrics.count("index_answer", str(reason))
            known = known if reason.known is None else (reason.known,)
        except (IndexUnavailableError, ConfigError) as error:
            self._metrics.count("index_answer", "away")
            self._metrics.seen("index", error.code, 0.0)
            away = error
        else:
            return Found(hits=tuple(hits))
        try:
            found = await self._exact.search(project, alone, known)
        except EntityTooLargeError as error:  # there are too many rows to do without the engine
            raise away or error from None
        return replace(found, degraded=("index",) if away else ())

    async def _by_candidates(self, project: Project, probe: Probe, entity: Entity) -> list[Hit]:
        if self._exact.is_warm(project, entity, self._bounds.exact_rows):
            raise _Exactly("small")  # the one look that tells whether it is current is enough
        if probe.fence is not None and within(probe.fence, entity) != Everything():
            raise _Exactly("fenced")  # statistics of what is outside would show in scores
        standing = await self._source.standing(project, entity, self._collections.name)
        if not standing.memories:
            return []
        if probe.epoch not in (None, standing.epoch):
            raise SpaceSwitched
        if standing.memories <= self._bounds.exact_rows:
            raise _Exactly("small", _state_of(standing))
        if standing.held < 0:
            raise _Exactly("unfed")
        lag, named = await self._named(project, probe, entity, standing)
        return await self._rank(project, probe, entity, standing, named, lag)

    async def _named(
        self, project: Project, probe: Probe, entity: Entity, standing: Standing
    ) -> tuple[list[str], _Named]:
        """What the engine lacks and what it says, unless it failed a moment ago."""
        permit = self._breaker.admit(self._clock())
        if permit is None:
            raise IndexUnavailableError("The index did not answer a moment ago.")
        began = time.perf_counter()
        there: bool | None = None
        why, asked_s = "is asked again", None
        try:
            vectors = await self._collections.of(standing.build)
            found = await both(
                self._lag(project, entity, standing),
                self._ask(vectors, project, probe, entity, standing.memories),
            )
            there = True
        except (IndexUnavailableError, ConfigError) as error:
            # those who need other parts of it are not to do without them
            there = None if isinstance(error, IndexUnavailableError) and not error.whole else False
            why, asked_s = f"does not answer ({error.code}): {error.message}", error.retry_after_s
            raise
        finally:
            if self._breaker.ended(permit, self._clock(), there, asked_s):
                _log.warning("the index %s", why)
        self._metrics.seen("index", "", time.perf_counter() - began)
        return found

    async def _lag(self, project: Project, entity: Entity, standing: Standing) -> list[str]:
        """Ids of what changed since the engine was fed."""
        if standing.generation <= standing.held:
            return []
        delta = await self._records.delta(project, entity, standing.held)
        if delta.complete or len(delta.entries) > INDEX_LAG_ROWS_MAX:
            raise _Exactly("behind")
        return [entry.id for entry in delta.entries]

    async def _ask(
        self, vectors: Vectors, project: Project, probe: Probe, entity: Entity, rows: int
    ) -> _Named:
        """Candidates by the words of the question and by its vector.

        The two are looked for at once, unless the vector is weighted by how rare the words are.
        """
        near = max(self._bounds.near, 4 * probe.limit)
        words, per_word = words_of(probe.query), self._bounds.per_word
        embedding = probe.embedding

        async def nearest(vector: np.ndarray | None) -> list[Match]:
            if vector is None:
                return []
            return await vectors.nearest(project, entity, vector, near)

        async def holders() -> list[TermMatches]:
            return await vectors.holders(project, entity, words, per_word) if words else []

        if embedding is None or embedding.pieces is None:
            vector = None if embedding is None else weighted_vector(probe.query, embedding, [])
            found, close = await both(holders(), nearest(vector))
            frequency = frequencies(probe.query, words, found, per_word, rows)
        else:
            found = await holders()
            frequency = frequencies(probe.query, words, found, per_word, rows)
            told = worths(probe.query, frequency, rows)
            vector = weighted_vector(probe.query, embedding, told)
            close = await nearest(vector)
        told = worths(probe.query, frequency, rows)
        by_word = dict(zip(map(_terms, probe.query.terms), told, strict=True))
        rarity = [by_word[word] for word in words]
        return _Named(found, close, rarity, frequency, vector)

    async def _rank(
        self,
        project: Project,
        probe: Probe,
        entity: Entity,
        standing: Standing,
        named: _Named,
        lag: list[str],
    ) -> list[Hit]:
        keep = max(self._bounds.kept, 3 * probe.limit)
        ids = chosen(named.nearest, named.words, named.rarity, keep)
        if probe.query.spans:
            spans = intervals(probe.query.spans, probe.view.now)
            ids += await self._source.dated(project, entity, spans, _DATED)
        ids = list(dict.fromkeys([*ids, *lag]))
        excerpt = await self._excerpt(project, entity, ids, standing)
        if len(excerpt.entries) < standing.memories:
            _check_whole(named, standing.memories, keep)
        warm = self._warm(excerpt, standing, named, set(ids))
        hits = await _answer(warm, probe, entity)
        if len(hits) >= probe.limit or warm.population is None:
            self._metrics.count("index_answer", "candidates")
            return hits
        return await self._selected(project, probe, entity, standing, named, ids)

    async def _selected(
        self,
        project: Project,
        probe: Probe,
        entity: Entity,
        standing: Standing,
        named: _Named,
        ids: list[str],
    ) -> list[Hit]:
        """Too few candidates pass: ask the records which memories do, if they are not many."""
        op, value = ("*", None) if entity.id == ANY else ("eq", entity.id)
        own = Compare(f"{entity.kind}_id", op, value)  # type: ignore[arg-type]
        wanted = conjunction(probe.filter, own)
        listing = Listing(filter=wanted, view=probe.view, size=PAGE_SIZE_MAX)
        page = await self._records.page(project, listing)
        if page.total > len(page.memories):
            raise _Exactly("selective")
        every = list(dict.fromkeys([*ids, *(memory.id for memory in page.memories)]))
        excerpt = await self._excerpt(project, entity, every, standing)
        self._metrics.count("index_answer", "selected")
        return await _answer(self._warm(excerpt, standing, named, set(every)), probe, entity)

    async def _excerpt(
        self, project: Project, entity: Entity, ids: Sequence[str], standing: Standing
    ) -> Excerpt:
        """What the records have of the candidates, in the space they were found in."""
        excerpt = await self._source.excerpt(project, entity, ids, _LATEST)
        if excerpt.epoch != standing.epoch:
            raise SpaceSwitched
        return excerpt

    def _warm(self, excerpt: Excerpt, standing: Standing, named: _Named, ids: set[str]) -> Warm:
        """What was fetched as a working set; all of the entity, or a part with its statistics."""
        delta = Delta(
            generation=standing.generation,
            complete=True,
            entries=excerpt.entries,
            memories=excerpt.memories,
            told=excerpt.told,
            epoch=excerpt.epoch,
            dimensions=excerpt.dimensions,
        )
        warm = Warm.of(delta, self._dimensions)
        if len(excerpt.entries) >= standing.memories:
            return warm
        sample = excerpt.entries[-_LATEST:]
        latest = np.isin(warm.view.columns.seq, [entry.seq for entry in sample])
        return Warm(
            view=warm.view,
            memories=warm.memories,
            generation=warm.generation,
            told=warm.told,
            text_bytes=warm.text_bytes,
            found=with_context(warm.view, ids) | latest,
            population=population_of(sample, standing.memories, named.frequency, named.vector),
        )


def _check_whole(named: _Named, rows: int, keep: int) -> None:
    """Notice an engine that has lost what it was given: then all rows are looked at.

    It says all that it has of an entity with few rows; of others it must find many near a vector,
    however far. Those that wait for their vectors are not found, so half of them is enough.
    """
    few = named.vector is not None and 2 * len(named.nearest) < min(CANDIDATES_NEAR, rows)
    if rows <= keep or few:
        raise _Exactly("short")


def _state_of(standing: Standing) -> EntityState:
    return EntityState(
        generation=standing.generation, memories=standing.memories, epoch=standing.epoch
    )


async def both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Wait for two things at once. If one fails the other is stopped before the error is raised."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _answer(warm: Warm, probe: Probe, entity: Entity) -> list[Hit]:
    if len(warm.memories) > INLINE_ROWS_MAX:
        return await asyncio.to_thread(ranked, warm, probe, entity)
    return ranked(warm, probe, entity)


def _terms(term: QueryTerm) -> tuple[int, ...]:
    return tuple(value for value, _ in term.alternatives)
