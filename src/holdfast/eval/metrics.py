"""Scores of a ranking against the memories that hold a question's evidence. Pure.

A ranking is a sequence of distinct ids, best first; the evidence is a non-empty set of ids. All
measures lie in 0..1 and are means over questions when they are reported.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

RECALL_DEPTHS = (5, 10, 20, 50)
NDCG_DEPTH = 10
SEARCH_DEPTH = max(RECALL_DEPTHS)
"""How many results a question needs for every measure to be exact."""


def score(ranking: Sequence[str], evidence: Collection[str]) -> dict[str, float]:
    """Every measure of one question, by name: `recall@k`, `hit@k`, `mrr`, `ndcg@10`.

    Raises:
        ValueError: there is no evidence, or an id occurs twice in the ranking.
    """
    if not evidence:
        raise ValueError("a question without evidence cannot be scored")
    if len(set(ranking)) < len(ranking):
        raise ValueError("an id occurs twice in the ranking")
    scores = {f"recall@{k}": recall(ranking, evidence, k) for k in RECALL_DEPTHS}
    scores |= {f"hit@{k}": hit(ranking, evidence, k) for k in RECALL_DEPTHS}
    scores["mrr"] = reciprocal_rank(ranking, evidence)
    scores[f"ndcg@{NDCG_DEPTH}"] = ndcg(ranking, evidence, NDCG_DEPTH)
    return scores


def recall(ranking: Sequence[str], evidence: Collection[str], k: int) -> float:
    """Share of the evidence among the first k."""
    return len(set(ranking[:k]) & set(evidence)) / len(set(evidence))


def hit(ranking: Sequence[str], evidence: Collection[str], k: int) -> float:
    """1.0 if any evidence is among the first k, else 0.0."""
    return float(not set(evidence).isdisjoint(ranking[:k]))


def reciprocal_rank(ranking: Sequence[str], evidence: Collection[str]) -> float:
    """1 / the place of the first evidence; 0.0 if none was ranked."""
    return next((1 / place for place, name in enumerate(ranking, 1) if name in evidence), 0.0)


def ndcg(ranking: Sequence[str], evidence: Collection[str], k: int) -> float:
    """Normalised discounted cumulative gain with binary gains (Järvelin & Kekäläinen 2002)."""
    gained = sum(_discount(place) for place, name in enumerate(ranking[:k], 1) if name in evidence)
    ideal = sum(_discount(place) for place in range(1, min(len(set(evidence)), k) + 1))
    return gained / ideal


def _discount(place: int) -> float:
    return 1 / math.log2(place + 1)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure over questions; empty for no rows."""
    if not rows:
        return {}
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` (0..1] of the values do not exceed.

    Raises:
        ValueError: there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
