"""Which of the memories an engine names are worth fetching, and what they tell of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final

import numpy as np

from holdfast.core.population import USUAL_SIMILARITY, USUAL_SPREAD, Population
from holdfast.core.temporal import TimeSpan
from holdfast.core.text import Query
from holdfast.core.view import EntityView, Entry
from holdfast.ports import Match, TermMatches

WORDS_MAX: Final = 64
"""Words of a question that an engine is asked for; those of longer ones are its first."""

YEARS_MAX: Final = 12
"""Past years in which a month or a day without a year is looked for."""

SAMPLE_MIN: Final = 16
"""Fewer rows say nothing of an entity."""


def words_of(query: Query) -> list[tuple[int, ...]]:
    """The different words of a question, each as its alternative terms, to ask an engine for."""
    every = (tuple(value for value, _ in term.alternatives) for term in query.terms)
    return list(dict.fromkeys(every))[:WORDS_MAX]


def frequencies(
    query: Query,
    words: Sequence[tuple[int, ...]],
    found: Sequence[TermMatches],
    limit: int,
    rows: int,
) -> tuple[int, ...]:
    """How many rows of an entity have each term of the query.

    Exact where the engine tells, or names fewer than the `limit` it was asked for. Else it is
    between that and all `rows`, and taken to be the geometric mean. 0 for a word not asked for.
    """
    known = {word: _frequency(each, limit, rows) for word, each in zip(words, found, strict=True)}
    return tuple(
        known.get(tuple(value for value, _ in term.alternatives), 0) for term in query.terms
    )


def _frequency(found: TermMatches, limit: int, rows: int) -> int:
    if found.rows is not None:
        return min(found.rows, rows)
    if len(found.matches) < limit:
        return len(found.matches)
    return round(math.sqrt(limit * max(limit, rows)))


def chosen(
    nearest: Sequence[Match],
    found: Sequence[TermMatches],
    rarity: Sequence[float],
    keep: int,
) -> list[str]:
    """The most promising ids, at most `keep`: in turn the next by cosine and the next by keywords.

    Those by keywords are ordered as BM25 does, as far as the engine tells: each word counts by its
    `rarity`, and by how its score compares with the best of the word.
    """
    by_words: dict[str, float] = {}
    for each, rare in zip(found, rarity, strict=True):
        best = max((match.score for match in each.matches), default=0.0)
        for match in each.matches:
            share = match.score / best if best > 0.0 else 1.0
            by_words[match.id] = by_words.get(match.id, 0.0) + rare * share
    worded = sorted(by_words, key=lambda id_: -by_words[id_])
    order = _in_turn([match.id for match in nearest], worded)
    return list(dict.fromkeys(order))[:keep]


def _in_turn(left: Iterable[str], right: Iterable[str]) -> Iterator[str]:
    for pair in zip_longest(left, right):
        yield from (id_ for id_ in pair if id_ is not None)


def intervals(spans: Iterable[TimeSpan], now: float) -> list[tuple[float, float]]:
    """Times that a question names as half open intervals; those without a year in recent years."""
    this = datetime.fromtimestamp(now, UTC).year
    found: list[tuple[float, float]] = []
    for span in spans:
        if not span.month:
            found.append((span.start, span.end))
            continue
        for year in range(this - YEARS_MAX + 1, this + 1):
            found += _in_year(year, span)
    return found


def _in_year(year: int, span: TimeSpan) -> list[tuple[float, float]]:
    try:
        start = datetime(year, span.month, span.day or 1, tzinfo=UTC)
    except ValueError:  # no 29 February in this year
        return []
    if span.day:
        return [(start.timestamp(), start.timestamp() + 86_400.0)]
    follows = datetime(year + span.month // 12, span.month % 12 + 1, 1, tzinfo=UTC)
    return [(start.timestamp(), follows.timestamp())]


def population_of(
    entries: Sequence[Entry],
    rows: int,
    frequency: tuple[int, ...],
    vector: np.ndarray | None,
) -> Population:
    """What a few rows of an entity, not chosen by the question, tell of all of them.

    `vector`: that of the question, L2-normalised.
    """
    average = sum(len(entry.terms) >> 3 for entry in entries) / max(1, len(entries))
    usual, spread = USUAL_SIMILARITY, USUAL_SPREAD
    known = [entry.vector for entry in entries if entry.vector is not None]
    if vector is not None and len(known) >= SAMPLE_MIN:
        cosine = np.frombuffer(b"".join(known), dtype="<f4").reshape(len(known), -1) @ vector
        usual, spread = float(cosine.mean()), float(cosine.std())
    return Population(rows=rows, frequency=frequency, average=average, usual=usual, spread=spread)


def with_context(view: EntityView, ids: set[str]) -> np.ndarray:
    """[n] bool: rows with one of these ids, and rows that have one of them as context, whose own
    context is there as well if three rows on each side of each of them are."""
    asked = np.fromiter((id_ in ids for id_ in view.ids), np.bool_, len(view))
    found = asked.copy()
    found[1:] |= asked[:-1]
    found[2:] |= asked[:-2]
    found[:-1] |= asked[1:]
    return found
