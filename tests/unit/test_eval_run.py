"""The runner measures the store and nothing else: an oracle scores 1, an empty store 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.errors import ValidationError
from holdfast.eval import run
from holdfast.eval.report import summarise

CONVERSATION = {
    "conversation_id": "c",
    "turns": [
        {"id": str(n), "session": "s", "speaker": "Mia", "date": "2024-01-01", "text": f"Turn {n}"}
        for n in range(30)
    ],
    "questions": [
        {"category": "one", "question": f"{n},{n + 1}", "evidence_ids": [str(n), str(n + 1)]}
        for n in range(20)
    ],
}


class Store:
    """Stands for a Memory: ranks the turns that a question names first, or last, or not at all."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.asked: list[dict[str, Any]] = []

    def add(self, messages: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        return {"results": [{"id": f"m{m['content'].split()[1]}"} for m in messages]}

    def search(self, query: str, **options: Any) -> dict[str, Any]:
        self.asked.append(options)
        named = [f"m{number}" for number in query.split(",")]
        others = [f"m{number}" for number in range(30) if f"m{number}" not in named]
        ranking = {"oracle": named + others, "adversary": others + named, "empty": []}
        return {"results": [{"id": name, "score": 0.5} for name in ranking[self.manner]]}


@pytest.fixture
def dataset(tmp_path: Path) -> run.Dataset:
    """Thirty turns, twenty questions of two evidence turns each."""
    file = tmp_path / "one.json"
    file.write_text(json.dumps(CONVERSATION))
    return run.load(file)


def measured(manner: str, dataset: run.Dataset, threshold: float = 0.1) -> dict[str, Any]:
    """The overall summary of a store of this manner."""
    memory = cast("Any", Store(manner))
    stored = run.store(memory, dataset, lambda _done: None)
    outcomes = [run.ask(memory, q, stored.ids, threshold=threshold) for q in dataset.questions]
    summary: dict[str, Any] = summarise(outcomes)["overall"]
    return summary


def test_an_oracle_scores_one(dataset: run.Dataset) -> None:
    summary = measured("oracle", dataset)
    scores = {name: v for name, v in summary.items() if "@" in name or name == "mrr"}
    assert len(scores) == 10
    assert set(scores.values()) == {1.0}
    assert summary["abstained"] == 0.0


def test_an_adversary_scores_as_its_places_say(dataset: run.Dataset) -> None:
    summary = measured("adversary", dataset)
    assert summary["recall@20"] == 0.0
    assert summary["recall@50"] == 1.0
    assert summary["mrr"] == pytest.approx(1 / 29)


def test_an_empty_store_scores_nothing_and_abstains(dataset: run.Dataset) -> None:
    summary = measured("empty", dataset)
    assert (summary["recall@50"], summary["mrr"], summary["abstained"]) == (0.0, 0.0, 1.0)


def test_abstention_is_told_by_the_threshold(dataset: run.Dataset) -> None:
    assert measured("oracle", dataset, threshold=0.5)["abstained"] == 0.0
    assert measured("oracle", dataset, threshold=0.51)["abstained"] == 1.0


def test_questions_are_asked_on_their_day_of_their_conversation(tmp_path: Path) -> None:
    asked = {"category": "x", "question": "1", "evidence_ids": ["1"], "date": "1970-01-02"}
    file = tmp_path / "one.json"
    file.write_text(json.dumps([{**CONVERSATION, "questions": [asked]}]))
    dataset = run.load(file)
    store = Store("oracle")
    stored = run.store(cast("Any", store), dataset, lambda _done: None)
    run.ask(cast("Any", store), dataset.questions[0], stored.ids, threshold=0.1)
    assert store.asked[0]["filters"] == {"user_id": "c"}
    assert store.asked[0]["reference_date"] == 86_400.0
    assert store.asked[0]["threshold"] == 0.0


def test_evidence_that_names_no_turn_is_left_out_and_counted(tmp_path: Path) -> None:
    questions = [
        {"category": "x", "question": "1", "evidence_ids": ["1", "none"]},
        {"category": "x", "question": "2", "evidence_ids": ["none"]},
        {"category": "x", "question": "3", "evidence_ids": []},
    ]
    file = tmp_path / "one.json"
    file.write_text(json.dumps([{**CONVERSATION, "questions": questions}]))
    dataset = run.load(file)
    assert [question.evidence for question in dataset.questions] == [("1",)]
    assert dataset.skipped == 2


def test_a_form_without_questions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('[{"role": "user", "content": "x"}]')
    with pytest.raises(ValidationError, match="no questions"):
        run.load(file)
