"""The statistics of an entity that ranking needs, whether all its rows are at hand or some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.core.text import Query

USUAL_SIMILARITY: Final = 0.12
USUAL_SPREAD: Final = 0.1
"""Cosine of unrelated texts, and its spread: what an entity of few rows is assumed to have."""

FRAME_SHARE: Final = 0.3
"""What a word that only frames the question is worth of what its rarity says."""


class Population(msgspec.Struct, frozen=True):
    """What is known of an entity of whose rows a view has only some.

    `rows`: how many it has. `frequency`: for each word of the question, how many of them have it.
    `average`: mean number of index terms of a row. `usual`, `spread`: mean and standard deviation
    of the cosines of rows that nothing tells to be near the question.
    """

    rows: int
    frequency: tuple[int, ...]
    average: float
    usual: float = USUAL_SIMILARITY
    spread: float = USUAL_SPREAD


def rarities(frequency: Sequence[int], rows: int) -> list[float]:
    """BM25's inverse document frequency; `frequency`: how many of the rows have each word."""
    return [math.log1p(max(0.0, rows - n + 0.5) / (n + 0.5)) for n in frequency]


def rarities_of(frequency: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """`rarities` of many words at once."""
    return np.asarray(np.log1p(np.maximum(0.0, rows - frequency + 0.5) / (frequency + 0.5)))


def worths(query: Query, frequency: Sequence[int], rows: int) -> list[float]:
    """How much each word of a question counts: its rarity, less if it only frames the question."""
    return [
        rare * FRAME_SHARE if term.frame else rare
        for term, rare in zip(query.terms, rarities(frequency, rows), strict=True)
    ]


def usual_cosines(
    cosine: NDArray[np.float32], population: Population | None
) -> tuple[float, float]:
    """Mean and spread of the cosines of an entity, drawn to what is usual where rows are few.

    The rows that are not in the view are taken to be like those the population was measured on.
    """
    rows = len(cosine)
    total, squares = float(np.add.reduce(cosine)), float(cosine @ cosine)
    if population is not None and population.rows > rows:
        unseen, rows = population.rows - rows, population.rows
        total += unseen * population.usual
        squares += unseen * (population.usual**2 + population.spread**2)
    mean = (total + 5.0 * USUAL_SIMILARITY) / (rows + 5.0)
    square = squares - rows * mean * mean
    return mean, ((max(square, 0.0) + 20.0 * USUAL_SPREAD**2) / (rows + 20.0)) ** 0.5
