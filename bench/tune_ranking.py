"""Learn the weights of `holdfast.core.weights` from conversations with annotated evidence.

    python bench/tune_ranking.py DATA.json [DATA.json ...] [--model FOLDER --vectors FILE.npz]

Data: LoCoMo's own form or the neutral form (`tests/data/multilingual`). Every turn is one memory of
one view per conversation. The model is a softmax over all rows of a view, linear in the signals:
weights common to both profiles plus a deviation for each, both shrunk towards zero (ridge), found
by Newton's method. Reported recall is cross-validated: a conversation is ranked by weights learned
without it. `calibrate_ranking.py` learns the calibration of the scores afterwards. With `--model`,
a folder of a sentence-transformers model, the profiles of contextual embedders are learned.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ranking_vectors import Vectors, add_model_options, profile_name, vectors_from

from holdfast.core.matching import Matches, match
from holdfast.core.rank import tabulate
from holdfast.core.signals import SIGNALS
from holdfast.core.text import analyze, analyze_query, without_terms
from holdfast.core.view import EntityView, Entry

Array = NDArray[np.float64]
NAMES = list(SIGNALS)
FOLDS = 5
RIDGE = 4.0
"""Strength of the pull of the common weights (in units of a signal's spread) towards zero."""
RIDGE_DEVIATION = 2.0
"""The same for each profile's deviation from them."""
BALANCE = 0.3
"""0: every question counts the same; 1: every data set does."""
DEEP = 10


@dataclass
class Turn:
    """One turn of a conversation."""

    id: str
    session: str
    speaker: str
    at: float
    text: str


@dataclass
class Example:
    """One question: every signal of every row, and which rows are its evidence."""

    table: NDArray[np.float32]
    evidence: list[int]
    assistant: bool
    group: str
    fold: int


@dataclass
class Conversation:
    """A conversation and its questions: (text, ids of the evidence turns)."""

    name: str
    group: str
    turns: list[Turn]
    questions: list[tuple[str, list[str]]] = field(default_factory=list)


def read(path: Path) -> Iterator[Conversation]:
    """The conversations of a file, whichever of the two forms it has."""
    for item in json.loads(path.read_text(encoding="utf-8")):
        yield _locomo(item, path.stem) if "qa" in item else _neutral(item, path.stem)


def _locomo(item: dict[str, Any], group: str) -> Conversation:
    talk = item["conversation"]
    conversation = Conversation(str(item["sample_id"]), group, [])
    sessions = [key for key, value in talk.items() if isinstance(value, list)]
    for session in sorted(sessions, key=lambda key: int(key.rpartition("_")[2])):
        date = talk[f"{session}_date_time"] + " +0000"
        start = datetime.strptime(date, "%I:%M %p on %d %B, %Y %z").timestamp()
        for number, turn in enumerate(talk[session]):
            caption = turn.get("blip_caption")
            text = turn["text"] + (f" [shared: {caption}]" if caption else "")
            turn_id, speaker = turn["dia_id"], turn["speaker"]
            conversation.turns.append(Turn(turn_id, session, speaker, start + number, text))
    for qa in item["qa"]:
        ids = [found for part in qa["evidence"] for found in re.findall(r"D\d+:\d+", part)]
        conversation.questions.append((qa["question"], ids))
    return conversation


def _neutral(item: dict[str, Any], group: str) -> Conversation:
    turns = [
        Turn(
            turn["id"],
            turn["session"],
            turn["speaker"],
            _epoch(turn["date"]) + n / 100,
            turn["text"],
        )
        for n, turn in enumerate(item["turns"])
    ]
    questions = [(each["question"], each["evidence_ids"]) for each in item["questions"]]
    return Conversation(str(item["conversation_id"]), group, turns, questions)


def _epoch(date: str) -> float:
    moment = datetime.fromisoformat(date) if date else datetime(2000, 1, 1)  # noqa: DTZ001
    return moment.replace(tzinfo=UTC).timestamp()


def view_of(conversation: Conversation, vectors: Vectors) -> EntityView:
    """Every turn as one memory."""
    rows = vectors.of([turn.text for turn in conversation.turns])
    entries = []
    for number, (turn, vector) in enumerate(zip(conversation.turns, rows, strict=True)):
        role = turn.speaker if turn.speaker in ("user", "assistant") else None
        found = analyze(turn.text, actor=turn.speaker, role=role)
        entries.append(
            Entry(
                id=turn.id,
                seq=number,
                terms=found.terms,
                flags=found.flags,
                words=found.words,
                speaker=found.speaker,
                event_time=turn.at,
                role=role,
                session=turn.session,
                vector=vector.astype("<f4").tobytes(),
            )
        )
    return EntityView.build(entries, rows.shape[1])


def examples(conversations: list[Conversation], vectors: Vectors) -> list[Example]:
    """Every question put to its conversation."""
    counts: dict[str, int] = defaultdict(int)
    found = []
    for conversation in conversations:
        view = view_of(conversation, vectors)
        rows = {memory: row for row, memory in enumerate(view.ids)}
        fold = counts[conversation.group] % FOLDS
        counts[conversation.group] += 1
        for text, ids in conversation.questions:
            evidence = sorted({rows[memory] for memory in ids if memory in rows})
            if evidence:
                table, _ = tabulate(ask(text, view, vectors))
                found.append(Example(table, evidence, view.has_assistant, conversation.group, fold))
    return found


def ask(text: str, view: EntityView, vectors: Vectors) -> Matches:
    """A question meets a view."""
    query = analyze_query(text)
    bare = without_terms(query, view.name_terms)
    return match(view, query, vectors.of_query(text, bare))


def fit(found: list[Example], used: list[int], scale: Array) -> Array:
    """Weights [2, used]: for people, for chats with an assistant."""
    width = len(used)
    ridge = np.repeat(np.array([RIDGE, RIDGE_DEVIATION, RIDGE_DEVIATION], dtype=float), width)
    sizes = Counter(e.group for e in found)
    even = sum(sizes.values()) / len(sizes)
    data = [_stacked(e, used, scale, (even / sizes[e.group]) ** BALANCE) for e in found]
    weights = np.zeros(3 * width)
    loss = _loss(data, weights, ridge)
    for _ in range(30):
        step, slope = _newton_step(data, weights, ridge)
        size = 1.0
        while (
            size > 1e-3
            and (after := _loss(data, weights - size * step, ridge)) > loss - 1e-4 * size * slope
        ):
            size /= 2
        if size <= 1e-3 or loss - after < 1e-5 * loss:
            break
        weights, loss = weights - size * step, after
    common, people, assistant = weights.reshape(3, width) / scale[used]
    return np.stack((common + people, common + assistant))


Stacked = tuple[Array, list[int], list[int], float]


def _stacked(example: Example, used: list[int], scale: Array, weight: float) -> Stacked:
    """The signals in units of their spread, and the places of their weights among all."""
    width = len(used)
    table = example.table[used].astype(np.float64) / scale[used][:, None]
    own = range(2 * width, 3 * width) if example.assistant else range(width, 2 * width)
    return table, example.evidence, [*range(width), *own], weight


def _loss(data: list[Stacked], weights: Array, ridge: Array) -> float:
    total = 0.5 * float(ridge @ (weights * weights))
    for table, evidence, places, weight in data:
        both = weights[places].reshape(2, -1).sum(axis=0)
        scores = both @ table
        top = scores.max()
        total += weight * float(top + np.log(np.exp(scores - top).sum()) - scores[evidence].mean())
    return total


def _newton_step(
    data: list[Stacked], weights: Array, ridge: Array
) -> tuple[NDArray[np.floating[Any]], float]:
    gradient = ridge * weights
    hessian = np.diag(ridge)
    for table, evidence, places, weight in data:
        scores = weights[places].reshape(2, -1).sum(axis=0) @ table
        chance = np.exp(scores - scores.max())
        chance /= chance.sum()
        mean = table @ chance
        gradient[places] += weight * np.tile(mean - table[:, evidence].mean(axis=1), 2)
        spread = (table * chance) @ table.T - np.outer(mean, mean)
        hessian[np.ix_(places, places)] += weight * np.tile(spread, (2, 2))
    step = np.linalg.solve(hessian, gradient)
    return step, float(gradient @ step)


def recall(example: Example, used: list[int], weights: Array) -> float:
    """Share of the evidence among the first ten rows."""
    scores = weights[int(example.assistant)] @ example.table[used]
    best = np.argsort(-scores, kind="stable")[:DEEP]
    return len(set(best.tolist()) & set(example.evidence)) / len(example.evidence)


def cross_validated(found: list[Example], used: list[int], scale: Array) -> dict[str, float]:
    """recall@10 by data set, each conversation ranked by weights that never saw it."""
    values: dict[str, list[float]] = defaultdict(list)
    for fold in range(FOLDS):
        weights = fit([e for e in found if e.fold != fold], used, scale)
        for example in found:
            if example.fold == fold:
                values[example.group].append(recall(example, used, weights))
    return {group: float(np.mean(each)) for group, each in values.items()}


def drop_one(found: list[Example], used: list[int], scale: Array) -> None:
    """Print what cross-validated recall does without each signal."""
    whole = cross_validated(found, used, scale)
    for signal in used:
        rest = [other for other in used if other != signal]
        without = cross_validated(found, rest, scale)
        change = {group: round(without[group] - whole[group], 4) for group in whole}
        print(f"without {NAMES[signal]:18s} {sum(change.values()):+.4f} {change}", flush=True)


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    add_model_options(parser)
    parser.add_argument("--without", default="", help="signals to leave out, separated by commas")
    parser.add_argument("--drop-one", action="store_true", help="leave each signal out in turn")
    options = parser.parse_args()
    conversations = [c for path in options.data for c in read(path)]
    vectors = vectors_from(options.model, options.vectors)
    found = examples(conversations, vectors)
    vectors.save()
    out = set(options.without.split(","))
    used = [number for number, name in enumerate(NAMES) if name not in out]
    scale = np.mean([e.table.std(axis=1) for e in found], axis=0).astype(np.float64) + 1e-6
    print(
        "cross-validated recall@10:",
        {k: round(v, 4) for k, v in cross_validated(found, used, scale).items()},
    )
    if options.drop_one:
        drop_one(found, used, scale)
    weights = fit(found, used, scale)
    fitted: dict[str, list[float]] = defaultdict(list)
    for example in found:
        fitted[example.group].append(recall(example, used, weights))
    print("on the data learned from:", {k: round(float(np.mean(v)), 4) for k, v in fitted.items()})
    for assistant in (False, True):
        signals = zip(used, weights[int(assistant)], strict=True)
        print(
            profile_name(assistant, vectors),
            {NAMES[s]: round(float(w), 2) for s, w in signals},
        )


if __name__ == "__main__":
    main()
