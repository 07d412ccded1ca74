"""The scorer: an oracle scores 1, chance scores what chance predicts, and hand-computed cases."""

from __future__ import annotations

import math
import random

import pytest

from holdfast.eval import metrics

POOL = [f"m{place}" for place in range(200)]


def test_an_oracle_scores_one_in_every_measure() -> None:
    for size in (1, 3, 5):
        evidence = POOL[:size]
        assert set(metrics.score(POOL, evidence).values()) == {1.0}


def test_an_adversary_scores_zero_in_every_measure() -> None:
    assert set(metrics.score(POOL[:150], POOL[150:153]).values()) == {0.0}
    assert set(metrics.score([], POOL[:1]).values()) == {0.0}


def test_random_rankings_score_what_chance_predicts() -> None:
    chance = random.Random(7)
    evidence, rounds = 4, 4000
    rows = [
        metrics.score(chance.sample(POOL, len(POOL)), chance.sample(POOL, evidence))
        for _ in range(rounds)
    ]
    mean = metrics.means(rows)
    for k in metrics.RECALL_DEPTHS:
        missed = math.comb(len(POOL) - k, evidence) / math.comb(len(POOL), evidence)
        assert mean[f"recall@{k}"] == pytest.approx(k / len(POOL), abs=0.01)
        assert mean[f"hit@{k}"] == pytest.approx(1 - missed, abs=0.03)
    gain = sum(1 / math.log2(place + 1) for place in range(1, 11)) * evidence / len(POOL)
    ideal = sum(1 / math.log2(place + 1) for place in range(1, evidence + 1))
    assert mean["ndcg@10"] == pytest.approx(gain / ideal, abs=0.01)
    first = sum(
        (1 / place) * math.comb(len(POOL) - place, evidence - 1) / math.comb(len(POOL), evidence)
        for place in range(1, len(POOL) - evidence + 2)
    )
    assert mean["mrr"] == pytest.approx(first, abs=0.01)


def test_hand_computed_case() -> None:
    ranking = ["x", "a", "y", "z", "b", "w", "c"]
    scores = metrics.score(ranking, {"a", "b", "c", "never"})
    assert scores["recall@5"] == pytest.approx(2 / 4)
    assert scores["recall@10"] == pytest.approx(3 / 4)
    assert scores["hit@5"] == 1.0
    assert scores["mrr"] == pytest.approx(1 / 2)
    gained = 1 / math.log2(3) + 1 / math.log2(6) + 1 / math.log2(8)
    ideal = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert scores["ndcg@10"] == pytest.approx(gained / ideal)


def test_depth_is_the_first_k_and_not_one_more() -> None:
    ranking = ["x"] * 0 + [f"x{n}" for n in range(5)] + ["a"]
    assert metrics.recall(ranking, ["a"], 5) == 0.0
    assert metrics.recall(ranking, ["a"], 6) == 1.0
    assert metrics.hit(ranking, ["a"], 5) == 0.0


def test_repeated_evidence_counts_once_and_a_repeated_result_is_refused() -> None:
    assert metrics.recall(["a"], ["a", "a"], 5) == 1.0
    with pytest.raises(ValueError, match="twice"):
        metrics.score(["a", "a"], ["a"])
    with pytest.raises(ValueError, match="without evidence"):
        metrics.score(["a"], [])


def test_means_are_over_questions() -> None:
    assert metrics.means([{"mrr": 1.0}, {"mrr": 0.5}]) == {"mrr": 0.75}
    assert metrics.means([]) == {}


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert metrics.percentile(values, 0.5) == 3.0
    assert metrics.percentile(values, 0.99) == 5.0
    assert metrics.percentile(values, 0.2) == 1.0
    assert metrics.percentile([1.0, 2.0], 0.5) == 1.0
    with pytest.raises(ValueError, match="nothing"):
        metrics.percentile([], 0.5)
