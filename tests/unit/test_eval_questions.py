"""Questions and their evidence, from each form an evaluation can have."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.moment import moment
from holdfast.core.transcripts import Record, records
from holdfast.errors import ValidationError
from holdfast.eval.questions import Question, locomo_evidence, questions

LONGMEMEVAL = {
    "question_id": "q7",
    "question_type": "temporal-reasoning",
    "question": "Where?",
    "question_date": "2023/06/01 (Thu) 09:00",
    "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00"],
    "haystack_session_ids": ["s", "s"],
    "haystack_sessions": [
        [{"role": "user", "content": "Hi"}],
        [{"role": "user", "content": "I moved to Lyon.", "has_answer": True}],
    ],
}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (["D8:6; D9:17"], ("D8:6", "D9:17")),
        (["D9:1 D4:4 D4:6", "D4:4"], ("D9:1", "D4:4", "D4:6")),
        (["D30:05"], ("D30:5",)),
        (["D"], ()),
        ([None, 3], ()),
        ([], ()),
    ],
)
def test_locomo_evidence_strings(written: list[Any], found: tuple[str, ...]) -> None:
    assert locomo_evidence(written) == found


def test_locomo_questions() -> None:
    item = {
        "sample_id": "conv-1",
        "conversation": {},
        "qa": [
            {"question": "When?", "evidence": ["D1:3"], "category": 2, "answer": "May"},
            {"question": "Who?", "evidence": [], "category": 5},
        ],
    }
    assert list(questions(item, "locomo")) == [
        Question(
            id="conv-1:1", user_id="conv-1", category="temporal", text="When?", evidence=("D1:3",)
        ),
        Question(id="conv-1:2", user_id="conv-1", category="adversarial", text="Who?"),
    ]


def test_longmemeval_evidence_names_the_turn_that_was_stored() -> None:
    (asked,) = questions(LONGMEMEVAL, "longmemeval")
    stored = {
        part.turn_id: part.text
        for part in records(LONGMEMEVAL, "longmemeval")
        if isinstance(part, Record)
    }
    assert [stored[turn] for turn in asked.evidence] == ["I moved to Lyon."]
    assert asked.category == "temporal-reasoning"
    assert asked.at == moment("2023-06-01T09:00Z")
    assert not asked.unanswerable


def test_longmemeval_abstention_questions_have_no_evidence() -> None:
    (asked,) = questions({**LONGMEMEVAL, "question_id": "q7_abs"}, "longmemeval")
    assert asked.unanswerable
    assert asked.evidence == ()
    assert asked.category == "abstention"


def test_neutral_questions() -> None:
    item = {
        "conversation_id": "n1",
        "turns": [],
        "questions": [
            {
                "id": "a",
                "category": "fact",
                "question": "What?",
                "date": "2024-01-01",
                "evidence_ids": [3, "4", 3],
            },
            {"question": "Unknown?", "category": "abstention", "evidence_ids": []},
            {"question": "No evidence noted?", "evidence_ids": []},
        ],
    }
    known, unknown, unmarked = questions(item, "neutral")
    assert known.evidence == ("3", "4")
    assert known.at == moment("2024-01-01")
    assert (unknown.unanswerable, unmarked.unanswerable) == (True, False)


@pytest.mark.parametrize("form", ["openai", "jsonl", "chatgpt", "sharegpt"])
def test_forms_without_questions_say_so(form: Any) -> None:
    with pytest.raises(ValidationError, match="has no questions"):
        list(questions({}, form))


@pytest.mark.parametrize(
    ("form", "item"),
    [
        ("locomo", {"qa": [{"category": 1}]}),
        ("longmemeval", {"question_id": "x"}),
        ("neutral", {"questions": [{"id": 1}]}),
        ("neutral", {"questions": ["text"]}),
    ],
)
def test_a_wrong_shape_is_a_validation_error(form: Any, item: Any) -> None:
    with pytest.raises(ValidationError, match="shape"):
        list(questions(item, form))
