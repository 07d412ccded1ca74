"""Learn how the sums of `holdfast.core.rank` become scores: the chance that a row is an answer.

    python bench/calibrate_ranking.py DATA.json [DATA.json ...] [--model FOLDER --vectors FILE.npz]

Run after `tune_ranking.py`, with its weights in place. The best rows of many questions are looked
at: in the whole conversation, in stretches of it that hold the answer and some that do not, and in
other conversations. A logistic regression on `core.rank.calibration_inputs` learns which are
evidence. Answers are given ANSWER_SHARE of the weight, so that a score is the chance among rows
that are worth showing, and not among all.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ranking_vectors import Vectors, add_model_options, profile_name, vectors_from
from tune_ranking import Array, Conversation, Turn, ask, read, view_of

from holdfast.core.rank import calibration_inputs, tabulate, weigh
from holdfast.core.view import EntityView
from holdfast.core.weights import profile

STRETCHES = (2, 4, 8, 16, 40, 100)
"""Rows of the stretches."""
QUESTIONS_MAX = 60
"""Questions taken of one conversation, so that none outweighs the others."""
FEW = 16
DEEP = 10
ANSWER_SHARE = 0.2
"""What answers weigh among the rows looked at; of those, about 7% are."""
RIDGE = 1.0
SEED = 3

Sample = tuple[str, bool, Array, Array]
"""Where it is from, whether an assistant speaks, inputs [6, rows], truth [rows]."""


def samples(conversations: list[Conversation], vectors: Vectors) -> Iterator[Sample]:
    """The best rows of every question in each of its places."""
    chance = random.Random(SEED)
    whole = [view_of(conversation, vectors) for conversation in conversations]
    for number, conversation in enumerate(conversations):
        questions = conversation.questions
        if len(questions) > QUESTIONS_MAX:
            questions = chance.sample(questions, QUESTIONS_MAX)
        others = [
            other
            for other, each in enumerate(conversations)
            if each.group == conversation.group and other != number
        ]
        for text, ids in questions:
            yield _sample("whole", text, whole[number], set(ids), vectors)
            for turns in _stretches(conversation.turns, ids, chance):
                view = view_of(Conversation("", "", turns), vectors)
                held = "answered" if {turn.id for turn in turns} & set(ids) else "unanswered"
                yield _sample(held, text, view, set(ids), vectors)
            if others:
                other = chance.choice(others)
                yield _sample("foreign", text, whole[other], set(), vectors)
                *_, turns = _stretches(conversations[other].turns, [], chance)
                view = view_of(Conversation("", "", turns), vectors)
                yield _sample("foreign", text, view, set(), vectors)


def _stretches(turns: list[Turn], ids: list[str], chance: random.Random) -> Iterator[list[Turn]]:
    """Two around an answer, one anywhere."""
    answers = [place for place, turn in enumerate(turns) if turn.id in ids]
    for anchor in (chance.choice(answers or [0]), chance.choice(answers or [0]), None):
        size = chance.choice(STRETCHES)
        place = chance.randrange(len(turns)) if anchor is None else anchor
        start = max(0, place - chance.randrange(size))
        yield turns[start : start + size]


def _sample(place: str, text: str, view: EntityView, ids: set[str], vectors: Vectors) -> Sample:
    matches = ask(text, view, vectors)
    table, _ = tabulate(matches)
    total = weigh(table, profile(view.has_assistant, matches.contextual))
    rows = np.argsort(-total, kind="stable")[:DEEP]
    truth = np.array([view.ids[row] in ids for row in rows.tolist()], dtype=np.float64)
    inputs = calibration_inputs(matches, total, rows).astype(np.float64)
    size = "few rows" if len(view) <= FEW else "many rows"
    return f"{place}, {size}", view.has_assistant, inputs, truth


def learn(found: list[Sample]) -> Array:
    """The weights of the inputs, by Newton's method."""
    inputs = np.concatenate([inputs for _, _, inputs, _ in found], axis=1)
    truth = np.concatenate([truth for _, _, _, truth in found])
    odds = ANSWER_SHARE / (1.0 - ANSWER_SHARE)
    mass = np.where(truth > 0, odds * (1.0 - truth.mean()) / truth.mean(), 1.0)
    ridge = RIDGE * np.array([1e-9, 1, 1, 1, 1, 1])
    curve = np.zeros(6)
    for _ in range(60):
        chance = 1.0 / (1.0 + np.exp(-np.clip(curve @ inputs, -30, 30)))
        spread = (inputs * (mass * chance * (1.0 - chance))) @ inputs.T + np.diag(ridge)
        curve = curve + np.linalg.solve(spread, inputs @ (mass * (truth - chance)) - ridge * curve)
    return curve


def report(found: list[Sample], curve: Array) -> None:
    """Print, for each kind of place, how the scores of best rows and of answers are spread."""
    best: dict[str, list[float]] = defaultdict(list)
    answers: dict[str, list[float]] = defaultdict(list)
    for place, _, inputs, truth in found:
        scores = np.minimum.accumulate(1.0 / (1.0 + np.exp(-(curve @ inputs))))
        best[place].append(float(scores[0]))
        answers[place] += scores[truth > 0].tolist()
    for place in sorted(best):
        first, told = np.array(best[place]), np.array(answers[place] or [np.nan])
        print(
            f"  {place:22s} {len(first):5d} best row: median {np.median(first):.2f}, "
            f"above .1 {np.mean(first > 0.1):.2f}, above .5 {np.mean(first > 0.5):.2f}; "
            f"answers: median {np.median(told):.2f}, above .1 {np.mean(told > 0.1):.2f}"
        )


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    add_model_options(parser)
    options = parser.parse_args()
    conversations = [c for path in options.data for c in read(path)]
    vectors = vectors_from(options.model, options.vectors)
    found = list(samples(conversations, vectors))
    vectors.save()
    for assistant in (False, True):
        mine = [sample for sample in found if sample[1] == assistant]
        curve = learn(mine)
        print(profile_name(assistant, vectors), "calibration", curve.round(2).tolist())
        report(mine, curve)


if __name__ == "__main__":
    main()
