"""The signals that rank: each gives one number per row, and what they are worth is learned.

`SIGNALS`, at the end, lists them: traits of the rows, which do not depend on what is asked, and
functions of `Matches`. To add one, see `bench/tune_ranking.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.core.asking import ASKS_NUMBER, ASKS_OVERVIEW, ASKS_WHEN
from holdfast.core.columns import ASSISTANT
from holdfast.core.matching import Matches
from holdfast.core.view import STEADY, EntityView

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

NOTHING_ELSE: Final = 3.0
"""Worth of being from the time that a question names, if that is all it asks."""
LEVELS_OFF: Final = 2.0
"""Of similarity: three standard deviations above the mean are 0.76 of what can be had."""
STANDING_MAX: Final = 200
"""Rows whose place by similarity counts."""


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
    best = best_rows(matches.similarity, None, STANDING_MAX)
    value = np.full(len(matches.view), -1.0, dtype=np.float32)
    value[best] = _STANDINGS[: len(best)]
    return value


def matched(matches: Matches) -> Floats | None:
    """How many words of the question the row has, whatever they are worth; their logarithm."""
    return np.asarray(np.log1p(matches.words)) if matches.rarity else None


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
    if matches.named is None or not matches.contextual:
        return None
    return matches.named * matches.coverage


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


def reply(matches: Matches) -> Floats:
    """The previous turn asked something in the words of the question, so the row may answer it."""
    view = matches.view
    share = np.add.reduce(matches.impact, axis=0) / np.float32(max(matches.mass, 1e-6))
    return np.asarray(share[view.previous] * view.traits.asked)


def speaker(matches: Matches) -> Floats | None:
    """The person the question names is the one who speaks."""
    return matches.named


def own(matches: Matches) -> Floats | None:
    """The question names one who speaks here, and the speaker of the row talks about themselves."""
    return None if matches.named is None else matches.view.traits.told


def number(matches: Matches) -> Floats | None:
    """The question asks for a number, and the row has one."""
    return matches.view.traits.number if matches.query.asks & ASKS_NUMBER else None


def overview(matches: Matches) -> Floats | None:
    """The question asks for a summary, and an assistant speaks: its answers sum up."""
    if not matches.query.asks & ASKS_OVERVIEW:
        return None
    return np.asarray(matches.view.columns.role == ASSISTANT, dtype=np.float32)


def best_rows(total: Floats, eligible: Bools | None, limit: int) -> NDArray[np.intp]:
    """Rows with the highest totals, ties by row; only eligible ones."""
    if eligible is not None:
        candidates = np.flatnonzero(eligible)
        return candidates[best_rows(total[candidates], None, limit)]
    limit = max(0, limit)
    if limit and len(total) > 4 * limit:
        ordered = total.copy()
        ordered.partition(len(total) - limit)
        top = (total >= ordered[len(total) - limit]).nonzero()[0]
        best: NDArray[np.intp] = top[(-total[top]).argsort(kind="stable")]
    else:
        best = (-total).argsort(kind="stable")
    return best[:limit]


def _per_row(view: EntityView, per_session: Floats) -> Floats:
    return np.asarray(per_session[view.segment])


_STANDINGS: Final = (-np.log1p(np.arange(STANDING_MAX)) / np.log1p(STANDING_MAX)).astype(np.float32)

Signal = Callable[[Matches], Floats | None]

ASKED: Final[tuple[tuple[str, Signal], ...]] = (
    ("semantic", semantic),
    ("semantic_session", semantic_session),
    ("keyword", keyword),
    ("matched", matched),
    ("context", context),
    ("session", session),
    ("time", time),
    ("date", date),
    ("reply", reply),
    ("speaker", speaker),
    ("own", own),
    ("number", number),
    ("standing", standing),
    ("rarest", rarest),
    ("spoken", spoken),
    ("overview", overview),
)
"""Signals that depend on the question."""

SIGNALS: Final = (*STEADY, *(name for name, _ in ASKED))
"""Every signal, by the name it has in the weights and in `explain`."""
