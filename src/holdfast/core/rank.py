"""Ranking without a model: a weighted sum of cheap signals over every row of one entity.

The signals are listed in `signals.py`; what they are worth is learned (`weights.py`). Measured:
docs and `bench/tune_ranking.py`.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.matching import Matches, match
from holdfast.core.population import Population
from holdfast.core.signals import ASKED, SIGNALS, best_rows, date
from holdfast.core.text import Query
from holdfast.core.view import STEADY, EntityView
from holdfast.core.weights import PROFILES, Weights, profile
from holdfast.ports import QueryEmbedding

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


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
    rows = best_rows(total, eligible, limit)
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
    return {SIGNALS[i]: parts[i] for i in spoke if factors[i]}


def tabulate(matches: Matches) -> tuple[Floats, list[int]]:
    """Every signal of every row, [signals, n], and the numbers of the signals that spoke."""
    table = np.zeros((len(SIGNALS), len(matches.view)), dtype=np.float32)
    table[: len(STEADY)] = matches.view.traits.steady
    spoke = list(range(len(STEADY)))
    for number, (_, signal) in enumerate(ASKED, start=len(STEADY)):
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
    return np.array([weights.signals.get(name, 0.0) for name in SIGNALS], dtype=np.float32)


_FACTORS: Final = {id(each): _numbers(each) for each in PROFILES}
_CALIBRATIONS: Final = {id(each): np.array(each.calibration) for each in PROFILES}
