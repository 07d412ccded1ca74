"""What an evaluation found, as one object. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from holdfast.eval import metrics
from holdfast.model import Json


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What storing the turns took and gave."""

    turns: int
    seconds: float
    ids: dict[tuple[str, str], str]
    """(user id, turn id) to memory id."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one question brought."""

    category: str
    seconds: float
    """What the search took."""
    abstained: bool
    """No result reached the threshold."""
    scores: Mapping[str, float] | None
    """The measures of `eval.metrics`; None for an unanswerable question."""


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Json]:
    """`overall` and `categories` (by name), each with the measures and counts of its questions.

    Keys of each: `questions`, `recall@k`, `hit@k`, `mrr`, `ndcg@10` (means over the questions that
    have evidence, `questions` of them), `abstained` (share of those with no result at the
    threshold), `search_p50_ms`, `search_p99_ms`; and, where some are unanswerable,
    `unanswerable` (their count) and `unanswerable_abstained` (the share rightly left open).
    """
    names = sorted({outcome.category for outcome in outcomes})
    return {
        "overall": _summary(outcomes),
        "categories": {
            name: _summary([outcome for outcome in outcomes if outcome.category == name])
            for name in names
        },
    }


def _summary(outcomes: Sequence[Outcome]) -> dict[str, Json]:
    scored = [outcome for outcome in outcomes if outcome.scores is not None]
    open_ended = [outcome for outcome in outcomes if outcome.scores is None]
    seconds = [outcome.seconds for outcome in outcomes]
    summary: dict[str, Json] = {"questions": len(scored)}
    summary |= metrics.means([outcome.scores for outcome in scored if outcome.scores is not None])
    if scored:
        summary["abstained"] = _share(scored)
    if open_ended:
        summary["unanswerable"] = len(open_ended)
        summary["unanswerable_abstained"] = _share(open_ended)
    if seconds:
        summary["search_p50_ms"] = 1000 * metrics.percentile(seconds, 0.50)
        summary["search_p99_ms"] = 1000 * metrics.percentile(seconds, 0.99)
    return summary


def _share(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.abstained for outcome in outcomes) / len(outcomes)
