"""Ranking without a model: a weighted sum of cheap signals over every row of one entity.

`SIGNALS` lists them; each is one function of `Matches` and gives one number per row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core import text
from holdfast.core.text import Query
from holdfast.core.view import ROLES, EntityView
from holdfast.core.weights import ASSISTANT, PEOPLE, Weights
from holdfast.ports import QueryEmbedding

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

OTHER_PIECE_WEIGHT: Final = 0.3
"""Weight, in the query's vector, of pieces that belong to no index term (stop words, punctuation)."""
DAY_S: Final = 86_400.0


class Ranking(msgspec.Struct, frozen=True):
    """`rows`: positions in the view, best first. `scores`: in 0..1, falling, one per row.

    `parts`: for each signal that spoke its share of the sum behind the score, one per row.
    """

    rows: NDArray[np.intp]
    scores: Floats
    parts: dict[str, Floats]


def rank(
    view: EntityView,
    query: Query,
    embedding: QueryEmbedding | None,
    *,
    eligible: Bools | None = None,
    limit: int = 10,
    weights: Weights | None = None,
) -> Ranking:
    """The best `limit` rows of `view` for a question.

    `embedding`: None ranks by keywords alone. `eligible` [n]: rows that may be returned; the others
    still count as context. `weights`: default by whether an assistant speaks in the view.
    """
    if weights is None:
        weights = ASSISTANT if view.has_assistant else PEOPLE
    matches = Matches.of(view, query, embedding)
    total = np.zeros(len(view), dtype=np.float32)
    values: dict[str, Floats] = {}
    for name, signal in SIGNALS:
        weight = weights.signals.get(name, 0.0)
        if weight and (value := signal(matches)) is not None:
            values[name] = value
            total += weight * value
    rows = _best(total, eligible, limit)
    scores = 1.0 / (1.0 + np.exp(-(weights.slope * total[rows] + weights.intercept)))
    parts = {name: weights.signals[name] * value[rows] for name, value in values.items()}
    return Ranking(rows, scores.astype(np.float32), parts)


def features(view: EntityView, query: Query, embedding: QueryEmbedding | None) -> Floats:
    """Every signal of every row, [signals, rows]; for learning weights."""
    matches = Matches.of(view, query, embedding)
    table = np.zeros((len(SIGNALS), len(view)), dtype=np.float32)
    for number, (_, signal) in enumerate(SIGNALS):
        value = signal(matches)
        if value is not None:
            table[number] = value
    return table


def _best(total: Floats, eligible: Bools | None, limit: int) -> NDArray[np.intp]:
    """Rows with the highest totals, ties by row; only eligible ones."""
    if eligible is not None:
        candidates = np.flatnonzero(eligible)
        return candidates[_best(total[candidates], None, limit)]
    limit = max(0, limit)
    if limit and len(total) > 4 * limit:
        cut = np.partition(total, len(total) - limit)[len(total) - limit]
        top = np.flatnonzero(total >= cut)
        return top[np.argsort(-total[top], kind="stable")][:limit]
    return np.argsort(-total, kind="stable")[:limit]


@dataclass
class Matches:
    """A question meets a view.

    `impact` [terms, n + 1]: BM25 of each word for each row, as a share of the information in the
    whole question (a row's sum is in 0..1); the last column stands for "no such row".
    `rarity` [terms]: inverse document frequency.
    """

    view: EntityView
    query: Query
    embedding: QueryEmbedding | None
    impact: Floats
    rarity: Floats

    @classmethod
    def of(cls, view: EntityView, query: Query, embedding: QueryEmbedding | None) -> Matches:
        """Look up every word of the question."""
        rows = len(view)
        found, owner = _lookup(view, query)
        postings = view.postings
        impact = np.zeros((len(query.terms), rows + 1), dtype=np.float32)
        frequency = np.zeros(len(query.terms))
        starts, ends = postings.offsets[found].tolist(), postings.offsets[found + 1].tolist()
        for term, start, end in zip(owner, starts, ends, strict=True):
            where = postings.rows[start:end]
            counts = postings.counts[start:end]
            impact[term, where] = counts / (counts + view.norm[where])
            frequency[term] += end - start
        rarity = np.log1p((rows - frequency + 0.5).clip(0.0) / (frequency + 0.5))
        impact *= (rarity / max(float(rarity.sum()), 1e-9)).astype(np.float32)[:, None]
        return cls(view, query, embedding, impact, rarity.astype(np.float32))

    @cached_property
    def keyword(self) -> Floats:
        """[n + 1]: BM25 of the row itself."""
        return np.add.reduce(self.impact, axis=0)

    @cached_property
    def similarity(self) -> Floats | None:
        """[n]: cosine of the rows with the question; None without a usable vector."""
        if self.embedding is None:
            return None
        vector = _weighted_vector(self.query, self.embedding, self.rarity)
        return None if vector is None else self.view.columns.vectors @ vector

    def has(self, flag: int) -> Floats:
        """[n]: 1.0 where the row has a flag of `core.text`."""
        return (self.view.columns.flags & flag != 0).astype(np.float32)


def _lookup(view: EntityView, query: Query) -> tuple[NDArray[np.intp], list[int]]:
    """Vocabulary numbers of the question's words, and which word each belongs to."""
    values: list[int] = []
    owner: list[int] = []
    for number, term in enumerate(query.terms):
        for value, languages in term.alternatives:
            if languages & view.languages:
                values.append(value)
                owner.append(number)
    found = view.postings.find(np.array(values, dtype=np.uint64))
    present = np.flatnonzero(found >= 0)
    return found[present], [owner[i] for i in present.tolist()]


def _weighted_vector(query: Query, embedding: QueryEmbedding, rarity: Floats) -> Floats | None:
    """The question's vector, L2-normalised, its pieces weighted by how rare their word is here.

    Embedders that see the question as a whole give no pieces: their vector is taken as it is.
    """
    vector: Floats = embedding.vector
    if embedding.pieces is not None and query.terms:
        vector = _piece_weights(query, embedding.spans, rarity) @ embedding.pieces
    norm = float(vector @ vector) ** 0.5
    return vector / np.float32(norm) if 0.0 < norm < float("inf") else None


def _piece_weights(query: Query, spans: tuple[tuple[int, int], ...], rarity: Floats) -> Floats:
    weight_at = [OTHER_PIECE_WEIGHT] * (len(query.text) + 1)
    for term, weight in zip(query.terms, rarity.tolist(), strict=True):
        for position in range(term.start, term.end):
            weight_at[position] = weight
    return np.array([weight_at[min(max(s, e - 1), len(query.text))] for s, e in spans], np.float32)


def semantic(matches: Matches) -> Floats | None:
    """Cosine similarity of the row and the question."""
    return matches.similarity


def keyword(matches: Matches) -> Floats:
    """BM25 over "speaker: text"."""
    return matches.keyword[:-1]


def context(matches: Matches) -> Floats:
    """What the two previous turns and the next one say of the question, by BM25."""
    view, scores = matches.view, matches.keyword
    return (scores[view.previous] + scores[view.before_previous] + scores[view.next]) / np.float32(
        3.0
    )


def session(matches: Matches) -> Floats | None:
    """How much of the question the whole session speaks of."""
    view = matches.view
    if not len(view) or not len(matches.impact):
        return None
    best = np.maximum.reduceat(matches.impact[:, :-1], view.segment_starts, axis=1)
    whole = np.add.reduce(best, axis=0)
    return whole[view.segment]


def time(matches: Matches) -> Floats | None:
    """The question asks when, and the row has a time expression."""
    return matches.has(text.TIME) if matches.query.asks & text.ASKS_WHEN else None


def date(matches: Matches) -> Floats | None:
    """The row is from a time the question names."""
    view = matches.view
    best: Floats | None = None
    for span in matches.query.spans:
        if span.month:
            hit = (view.month == span.month) & ((view.day == span.day) | (span.day == 0))
        else:
            hit = (view.columns.event_time >= span.start) & (view.columns.event_time < span.end)
        value = hit.astype(np.float32)
        best = value if best is None else np.maximum(best, value)
    return best


def question(matches: Matches) -> Floats:
    """The row ends with a question: it asks rather than tells."""
    return matches.has(text.QUESTION)


def speaker(matches: Matches) -> Floats | None:
    """The person the question names is the one who speaks."""
    named: set[int] = set()
    for term in matches.query.terms:
        for value, _ in term.alternatives:
            named.update(matches.view.name_terms.get(value, ()))
    if not named or len(named) > 8:
        return None
    return np.isin(matches.view.columns.speaker, list(named)).astype(np.float32)


def length(matches: Matches) -> Floats:
    """Longer rows say more: the logarithm of the words, 1.0 at a hundred and more."""
    words = np.log1p(matches.view.columns.words.astype(np.float32)) / np.float32(4.6)
    return np.minimum(words, np.float32(1.0))


def number(matches: Matches) -> Floats | None:
    """The question asks for a number, and the row has one."""
    return matches.has(text.NUMBER) if matches.query.asks & text.ASKS_NUMBER else None


def user(matches: Matches) -> Floats:
    """In chats with an assistant: the user speaks."""
    return (matches.view.columns.role == ROLES.index("user")).astype(np.float32)


Signal = Callable[[Matches], Floats | None]

SIGNALS: Final[tuple[tuple[str, Signal], ...]] = (
    ("semantic", semantic),
    ("keyword", keyword),
    ("context", context),
    ("session", session),
    ("time", time),
    ("date", date),
    ("question", question),
    ("speaker", speaker),
    ("length", length),
    ("number", number),
    ("user", user),
)
"""Every signal, by the name it has in the weights and in `explain`."""
