"""Ranking without a model: a weighted sum of cheap signals over every row of one entity.

`SIGNALS`, at the end, lists them; each is one function of `Matches` and gives one number per row.
What they are worth is learned (`weights.py`). Measured: docs and `bench/tune_ranking.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.asking import ASKS_NUMBER, ASKS_OVERVIEW, ASKS_WHEN
from holdfast.core.columns import ASSISTANT
from holdfast.core.population import Population, rarities, usual_cosines, worths
from holdfast.core.text import Query
from holdfast.core.view import EntityView
from holdfast.core.weights import PROFILES, Weights, profile
from holdfast.ports import QueryEmbedding

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

OTHER_PIECE_WEIGHT: Final = 0.3
"""Weight, in the question's vector, of pieces that belong to no index term (stop words, signs)."""
NEIGHBOURS: Final = (("previous", 0.7), ("before_previous", 0.5), ("next", 0.5))
"""Turns whose words count for a row that lacks them, and at what discount."""
MASS_SCALE: Final = 0.1
SPEAKERS_NAMED_MAX: Final = 8
LEVELS_OFF: Final = 2.0
"""Of similarity: three standard deviations above the mean are 0.76 of what can be had."""
NOTHING_ELSE: Final = 3.0
"""Worth of being from the time that a question names, if that is all it asks."""
STANDING_MAX: Final = 200
"""Rows whose place by similarity counts."""
STRADDLING: Final = 0.85
"""Share of the pairs of characters unknown to a view that are taken to straddle two words."""


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
    explain: bool = True,
    population: Population | None = None,
) -> Ranking:
    """The best `limit` rows of `view` for a question.

    `embedding`: None ranks by keywords alone. `eligible` [n]: rows that may be returned; the others
    still count as context. `weights`: by default chosen by whether an assistant speaks in the view,
    and by whether the embedder saw the question as a whole.
    Without `explain` no parts are told. `population`: of the whole entity, if the view is a part.
    A score is the calibrated chance that the row answers the question, whatever the view holds:
    about 0.5 and more for good hits, 0.2 and less where nothing fits.
    """
    if not len(view):
        return Ranking(np.empty(0, np.intp), np.empty(0, np.float32), {})
    matches = match(view, query, embedding, population)
    if weights is None:
        weights = profile(view.has_assistant, matches.contextual)
    table, spoke = tabulate(matches)
    total = weigh(table, weights)
    rows = _best(total, eligible, limit)
    logit = np.dot(_calibration(weights), calibration_inputs(matches, total, rows))
    odds_against = np.exp(np.minimum(np.maximum(-logit, -30.0), 30.0))
    # a row is never taken to be likelier than one that ranks above it
    scores = np.minimum.accumulate(1.0 / (1.0 + odds_against))
    parts = _parts(table[:, rows], spoke, weights) if explain else {}
    return Ranking(rows, scores.astype(np.float32), parts)


def _parts(table: Floats, spoke: list[int], weights: Weights) -> dict[str, Floats]:
    """For each signal that spoke its share of the sums."""
    factors = _factors(weights)
    parts = table * factors[:, None]
    return {SIGNALS[i][0]: parts[i] for i in spoke if factors[i]}


def tabulate(matches: Matches) -> tuple[Floats, list[int]]:
    """Every signal of every row, [signals, n], and the numbers of the signals that spoke."""
    table = np.zeros((len(SIGNALS), len(matches.view)), dtype=np.float32)
    spoke: list[int] = []
    for number, (_, signal) in enumerate(SIGNALS):
        value = signal(matches)
        if value is not None:
            table[number] = value
            spoke.append(number)
    return table, spoke


def calibration_inputs(matches: Matches, total: Floats, rows: NDArray[np.intp]) -> Floats:
    """[6, rows]: what the chance of a row is told by, in the order of `Weights.calibration`.

    One; the share of the question's information that the row has, and that its neighbours add;
    how far its meaning stands out; what its sum falls short of the best; the logarithm of the
    view's size, for among many rows some match by accident. Of a question of stop words only
    ("hello", "why?") no row has anything: only how its meaning stands out tells of it.
    """
    table = np.empty((6, len(rows)), dtype=np.float32)
    table[0] = 1.0
    scale = np.float32(1.0 / max(matches.mass * (1.0 - matches.no_words), 1e-6))
    table[1] = matches.coverage[rows]
    table[2] = matches.context[rows]
    table[1:3] *= scale
    np.minimum(table[1:3], 1.0, out=table[1:3])
    if matches.query.only_times and (dated := date(matches)) is not None:
        np.maximum(table[1], dated[rows] > 0.0, out=table[1])
    table[3] = 0.0 if matches.similarity is None else matches.similarity[rows]
    table[4] = total[rows] - total[rows[:1]]
    table[5] = math.log(matches.rows)
    return table


def weigh(table: Floats, weights: Weights) -> Floats:
    """[n]: the weighted sum of the signals, by which rows are ordered."""
    return np.asarray(_factors(weights) @ table)


def _factors(weights: Weights) -> Floats:
    known = _FACTORS.get(id(weights))
    return _numbers(weights) if known is None else known


def _calibration(weights: Weights) -> NDArray[np.float64]:
    known = _CALIBRATIONS.get(id(weights))
    return np.array(weights.calibration) if known is None else known


def _numbers(weights: Weights) -> Floats:
    return np.array([weights.signals.get(name, 0.0) for name, _ in SIGNALS], dtype=np.float32)


def _best(total: Floats, eligible: Bools | None, limit: int) -> NDArray[np.intp]:
    """Rows with the highest totals, ties by row; only eligible ones."""
    if eligible is not None:
        candidates = np.flatnonzero(eligible)
        return candidates[_best(total[candidates], None, limit)]
    limit = max(0, limit)
    if limit and len(total) > 4 * limit:
        ordered = total.copy()
        ordered.partition(len(total) - limit)
        top = (total >= ordered[len(total) - limit]).nonzero()[0]
        best: NDArray[np.intp] = top[(-total[top]).argsort(kind="stable")]
    else:
        best = (-total).argsort(kind="stable")
    return best[:limit]


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
    `coverage` [n]: the words the row has. `context` [n]: what its neighbours add, by BM25.
    `similarity` [n]: cosine in standard deviations above the view's mean, over 6; None without a
    vector. Embedders differ in what cosine means; how far a row stands out compares.
    `contextual`: the similarity is that of whole texts, not of weighted words.
    """

    view: EntityView
    query: Query
    rows: int
    rarity: list[float]
    mass: float
    no_words: float
    impact: Floats
    coverage: Floats
    context: Floats
    similarity: Floats | None
    contextual: bool


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
    coverage = np.zeros(len(view), dtype=np.float32)
    holders = view.postings.rows
    for rare, slices, row in zip(rarity, found, impact, strict=True):
        share = np.float32(rare * scale)
        for start, end in slices:
            where = holders[start:end]
            row[where] = saturation[start:end] * share
            coverage[where] += share
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
        context=_context(view, impact),
        similarity=similarity,
        contextual=similarity is not None and whole,
    )


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


def semantic(matches: Matches) -> Floats | None:
    """How much more similar the row is to the question than the other rows are.

    By weighted words it levels off: what stands out already is not told further by more of it.
    """
    if matches.similarity is None or matches.contextual:
        return matches.similarity
    return np.asarray(np.tanh(matches.similarity * np.float32(LEVELS_OFF)))


def semantic_session(matches: Matches) -> Floats | None:
    """The most similar row of the session."""
    if matches.similarity is None:
        return None
    view = matches.view
    return _per_row(view, np.maximum.reduceat(matches.similarity, view.segment_starts))


def standing(matches: Matches) -> Floats | None:
    """Of whole texts: the logarithm of the place by similarity, from 0 for the first to -1.

    The best few of a view stand much further apart for some questions than for others.
    """
    if matches.similarity is None or not matches.contextual:
        return None
    best = _best(matches.similarity, None, STANDING_MAX)
    value = np.full(len(matches.view), -1.0, dtype=np.float32)
    value[best] = _STANDINGS[: len(best)]
    return value


def matched(matches: Matches) -> Floats | None:
    """Beside the similarity of whole texts: how many words of the question the row has, whatever
    they are worth; their logarithm."""
    if not matches.contextual:
        return None
    count = np.count_nonzero(matches.impact[:, :-1], axis=0)
    return np.asarray(np.log1p(count.astype(np.float32)))


def rarest(matches: Matches) -> Floats | None:
    """Beside the similarity of whole texts: the row has the rarest word of the question.

    Nothing if no row has it: then no single word tells.
    """
    if not matches.contextual or not matches.rarity:
        return None
    word = matches.rarity.index(max(matches.rarity))
    return np.asarray((matches.impact[word, :-1] > 0.0) * np.float32(matches.mass))


def spoken(matches: Matches) -> Floats | None:
    """Beside the similarity of whole texts: words of the question, said by the one it names."""
    named = speaker(matches) if matches.contextual else None
    return None if named is None else named * matches.coverage


def keyword(matches: Matches) -> Floats:
    """The words of the question that the row, or the name of its speaker, has."""
    return matches.coverage


def context(matches: Matches) -> Floats:
    """Words of the question that the row lacks and a neighbouring turn has."""
    return matches.context


def session(matches: Matches) -> Floats | None:
    """How much of the question the whole session speaks of."""
    view = matches.view
    if not len(matches.impact):
        return None
    best = np.maximum.reduceat(matches.impact[:, :-1], view.segment_starts, axis=1)
    return _per_row(view, np.add.reduce(best, axis=0) / np.float32(max(matches.mass, 1e-6)))


def time(matches: Matches) -> Floats | None:
    """The question asks when, and the row has a time expression."""
    return matches.view.traits.time if matches.query.asks & ASKS_WHEN else None


def date(matches: Matches) -> Floats | None:
    """The row is from a time the question names; that counts more where it names nothing else."""
    view = matches.view
    if not matches.query.spans:
        return None
    hit = np.zeros(len(view), dtype=np.bool_)
    for span in matches.query.spans:
        if span.month:
            hit |= (view.month == span.month) & ((view.day == span.day) | (span.day == 0))
        else:
            at = view.columns.event_time
            hit |= (at >= span.start) & (at < span.end)
    return hit.astype(np.float32) * np.float32(NOTHING_ELSE if matches.query.only_times else 1.0)


def question(matches: Matches) -> Floats:
    """The row ends with a question: it asks rather than tells."""
    return matches.view.traits.question


def reply(matches: Matches) -> Floats:
    """The previous turn asked something in the words of the question, so the row may answer it."""
    view = matches.view
    share = np.add.reduce(matches.impact, axis=0) / np.float32(max(matches.mass, 1e-6))
    return np.asarray(share[view.previous] * view.traits.asked)


def speaker(matches: Matches) -> Floats | None:
    """The person the question names is the one who speaks."""
    view = matches.view
    named: set[int] = set()
    for term in matches.query.terms:
        for value, _ in term.alternatives:
            named.update(view.name_terms.get(value, ()))
    if not named or len(named) > SPEAKERS_NAMED_MAX:
        return None
    spoke = np.zeros(len(view), dtype=np.bool_)
    for name in named:
        spoke |= view.columns.speaker == name
    return spoke.astype(np.float32)


def length(matches: Matches) -> Floats:
    """Longer rows say more: the logarithm of the words, 1.0 at a hundred and more."""
    return matches.view.traits.length


def number(matches: Matches) -> Floats | None:
    """The question asks for a number, and the row has one."""
    return matches.view.traits.number if matches.query.asks & ASKS_NUMBER else None


def names(matches: Matches) -> Floats:
    """The row names people, places or works: the logarithm of how many."""
    return matches.view.traits.names


def user(matches: Matches) -> Floats:
    """In chats with an assistant: the user speaks."""
    return matches.view.traits.user


def overview(matches: Matches) -> Floats | None:
    """The question asks for a summary, and an assistant speaks: its answers sum up."""
    if not matches.query.asks & ASKS_OVERVIEW:
        return None
    return np.asarray(matches.view.columns.role == ASSISTANT, dtype=np.float32)


def _per_row(view: EntityView, per_session: Floats) -> Floats:
    return np.asarray(per_session[view.segment])


_STANDINGS: Final = (-np.log1p(np.arange(STANDING_MAX)) / np.log1p(STANDING_MAX)).astype(np.float32)

Signal = Callable[[Matches], Floats | None]

SIGNALS: Final[tuple[tuple[str, Signal], ...]] = (
    ("semantic", semantic),
    ("semantic_session", semantic_session),
    ("keyword", keyword),
    ("context", context),
    ("session", session),
    ("time", time),
    ("date", date),
    ("question", question),
    ("reply", reply),
    ("speaker", speaker),
    ("length", length),
    ("number", number),
    ("names", names),
    ("user", user),
    ("standing", standing),
    ("matched", matched),
    ("rarest", rarest),
    ("spoken", spoken),
    ("overview", overview),
)
"""Every signal, by the name it has in the weights and in `explain`."""

_FACTORS: Final = {id(each): _numbers(each) for each in PROFILES}
_CALIBRATIONS: Final = {id(each): np.array(each.calibration) for each in PROFILES}
