"""A question meets a view: what its words and its vector say of every row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.population import Population, rarities, usual_cosines, worths
from holdfast.core.text import Query
from holdfast.core.view import EntityView
from holdfast.ports import QueryEmbedding

Floats = NDArray[np.float32]

OTHER_PIECE_WEIGHT: Final = 0.3
"""Weight, in the question's vector, of pieces that belong to no index term (stop words, signs)."""
NEIGHBOURS: Final = (("previous", 0.7), ("before_previous", 0.5), ("next", 0.5))
"""Turns whose words count for a row that lacks them, and at what discount."""
MASS_SCALE: Final = 0.1
SPEAKERS_NAMED_MAX: Final = 8
STRADDLING: Final = 0.85
"""Share of the pairs of characters unknown to a view that are taken to straddle two words."""


@dataclass(frozen=True, slots=True)
class Matches:
    """A question meets a view. Everything lexical is a share of the question's information times
    `mass`: a question that says more relies more on its words.

    `rows`: how many the entity has, in the view or not.
    `rarity` [terms]: inverse document frequency, less for words that frame the question. `mass`:
    the square root of its sum, scaled.
    `no_words`: share of the information in pairs of characters that the view does not have; most of
    those straddle two words.
    `impact` [terms, n + 1]: BM25 of each word for each row; the last column is "no such row".
    `coverage` [n]: the words the row has. `words` [n]: how many those are. `context` [n]: what its
    neighbours add, by BM25.
    `similarity` [n]: cosine in standard deviations above the view's mean, over 6; None without a
    vector. Embedders differ in what cosine means; how far a row stands out compares.
    `contextual`: the similarity is that of whole texts, not of weighted words.
    `named` [n]: a person the question names is the one who speaks; None if it names none.
    """

    view: EntityView
    query: Query
    rows: int
    rarity: list[float]
    mass: float
    no_words: float
    impact: Floats
    coverage: Floats
    words: Floats
    context: Floats
    similarity: Floats | None
    contextual: bool
    named: Floats | None


def match(
    view: EntityView,
    query: Query,
    embedding: QueryEmbedding | None,
    population: Population | None = None,
) -> Matches:
    """Look up every word of the question, and compare vectors."""
    found = _lookup(view, query)
    frequency = [sum(end - start for start, end in slices) for slices in found]
    rows, saturation = len(view), view.saturation
    if population is not None:
        rows = max(rows, population.rows)
        frequency = [max(pair) for pair in zip(frequency, population.frequency, strict=True)]
        saturation = view.saturated(population.average)
    whole = embedding is not None and embedding.pieces is None
    # the weights of embedders that see the question as a whole were learned with its frame
    rarity = rarities(frequency, rows) if whole else worths(query, frequency, rows)
    information = sum(rarity)
    mass = math.sqrt(MASS_SCALE * information)
    scale = mass / max(information, 1e-9)
    impact = np.zeros((len(query.terms), len(view) + 1), dtype=np.float32)
    holders = view.postings.rows
    for rare, slices, row in zip(rarity, found, impact, strict=True):
        share = np.float32(rare * scale)
        for start, end in slices:
            row[holders[start:end]] = saturation[start:end] * share
    shares = np.array([[rare * scale for rare in rarity], [1.0] * len(rarity)], dtype=np.float32)
    coverage, words = shares @ (impact[:, :-1] > 0.0).astype(np.float32)
    similarity = _similarity(view, query, embedding, rarity, population)
    return Matches(
        view=view,
        query=query,
        rows=rows,
        rarity=rarity,
        mass=mass,
        no_words=_no_words(query, rarity, frequency) / max(information, 1e-9),
        impact=impact,
        coverage=coverage,
        words=words,
        context=_context(view, impact),
        similarity=similarity,
        contextual=similarity is not None and whole,
        named=_named(view, query),
    )


def _named(view: EntityView, query: Query) -> Floats | None:
    named: set[int] = set()
    for term in query.terms:
        for value, _ in term.alternatives:
            if value in view.name_terms:
                named.update(view.name_terms[value])
    if not named or len(named) > SPEAKERS_NAMED_MAX:
        return None
    spoke = np.zeros(len(view), dtype=np.bool_)
    for name in named:
        spoke |= view.columns.speaker == name
    return spoke.astype(np.float32)


def _lookup(view: EntityView, query: Query) -> list[list[tuple[int, int]]]:
    """For each word of the question where its postings are: a slice for each stem it has here."""
    values: list[int] = []
    owner: list[int] = []
    for number, term in enumerate(query.terms):
        for value, languages in term.alternatives:
            if languages & view.languages:
                values.append(value)
                owner.append(number)
    found: list[list[tuple[int, int]]] = [[] for _ in query.terms]
    starts, ends = view.postings.find(np.array(values, dtype=np.uint64))
    for number, start, end in zip(owner, starts, ends, strict=True):
        if end > start:
            found[number].append((start, end))
    return found


def _no_words(query: Query, rarity: list[float], frequency: list[int]) -> float:
    return STRADDLING * sum(
        rare
        for term, rare, rows in zip(query.terms, rarity, frequency, strict=True)
        if term.pair and not rows
    )


def _context(view: EntityView, impact: Floats) -> Floats:
    """[n]: for each word what the best neighbour, at a discount, has more than the row itself."""
    own = impact[:, :-1]
    best = own.copy()
    for name, discount in NEIGHBOURS:
        beside = impact.take(getattr(view, name), axis=1)
        beside *= np.float32(discount)
        np.maximum(best, beside, out=best)
    best -= own
    return np.asarray(np.add.reduce(best, axis=0))


def _similarity(
    view: EntityView,
    query: Query,
    embedding: QueryEmbedding | None,
    rarity: list[float],
    population: Population | None,
) -> Floats | None:
    vector = None if embedding is None else weighted_vector(query, embedding, rarity)
    if vector is None:
        return None
    cosine = view.columns.vectors @ vector
    mean, spread = usual_cosines(cosine, population)
    return (cosine - np.float32(mean)) * np.float32(1.0 / (6.0 * spread))


def weighted_vector(query: Query, embedding: QueryEmbedding, rarity: list[float]) -> Floats | None:
    """The question's vector, L2-normalised, its pieces weighted by how rare their word is here.

    Embedders that see the question as a whole give no pieces: their vector is taken as it is.
    """
    vector: Floats = embedding.vector
    if embedding.pieces is not None and query.terms:
        vector = _piece_weights(query, embedding.spans, rarity) @ embedding.pieces
    norm = float(vector @ vector) ** 0.5
    return vector / np.float32(norm) if 0.0 < norm < float("inf") else None


def _piece_weights(query: Query, spans: tuple[tuple[int, int], ...], rarity: list[float]) -> Floats:
    # a piece is worth what the word is that its last character belongs to
    weight_at = [OTHER_PIECE_WEIGHT] * (len(query.text) + 1)
    for term, weight in zip(query.terms, rarity, strict=True):
        weight_at[term.start : term.end] = [weight] * (term.end - term.start)
    places = [end - 1 if end > start else start for start, end in spans]
    return np.array([weight_at[place] for place in places], dtype=np.float32)
