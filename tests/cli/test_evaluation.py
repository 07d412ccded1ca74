"""The evaluation and the demonstration: what they measure, print and leave behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.demo import play
from holdfast.eval import metrics

Done = Callable[..., str]
Told = Callable[..., Any]
Refused = Callable[..., str]
Write = Callable[..., Path]

NEUTRAL = [
    {
        "conversation_id": f"c{number}",
        "turns": [
            {"id": "1", "session": "a", "speaker": "Mia", "date": "2024-01-01", "text": first},
            {"id": "2", "session": "a", "speaker": "Tom", "date": "2024-01-01", "text": second},
            {"id": "3", "session": "b", "speaker": "Mia", "date": "2024-02-01", "text": "Bye!"},
        ],
        "questions": questions,
    }
    for number, (first, second, questions) in enumerate(
        [
            (
                "I keep three hives of bees.",
                "My cello teacher is called Hester.",
                [
                    {"id": "q1", "category": "hobby", "question": "Who keeps hives of bees?",
                     "evidence_ids": ["1"], "date": "2024-03-01"},
                    {"id": "q2", "category": "music", "question": "Who teaches cello?",
                     "evidence_ids": ["2", "99"]},
                    {"id": "q3", "category": "abstention", "question": "Zanzibar ferry times?",
                     "evidence_ids": []},
                    {"id": "q4", "category": "music", "question": "No evidence?",
                     "evidence_ids": []},
                ],
            ),
            (
                "The boiler broke down again.",
                "We moved to Lisbon in May.",
                [{"id": "q5", "category": "home", "question": "Where did we move?",
                  "evidence_ids": ["2"]}],
            ),
        ]
    )
]  # fmt: skip


@pytest.fixture
def file(write: Write) -> Path:
    """A small evaluation in the neutral form."""
    return write("small.json", NEUTRAL)


def test_eval_reports_every_measure_overall_and_by_category(told: Told, file: Path) -> None:
    report = told("eval", file)
    assert (report["turns"], report["questions"], report["questions_skipped"]) == (6, 4, 1)
    assert (report["format"], report["embedder"]) == ("neutral", "wordllama")
    overall = report["overall"]
    for name in ("recall@5", "recall@10", "recall@20", "recall@50", "hit@10", "mrr", "ndcg@10"):
        assert 0 <= overall[name] <= 1
    assert overall["questions"] == 3
    assert overall["recall@5"] == 1.0
    assert overall["unanswerable"] == 1
    assert overall["search_p99_ms"] >= overall["search_p50_ms"] > 0
    assert set(report["categories"]) == {"hobby", "music", "home", "abstention"}
    assert report["categories"]["abstention"]["questions"] == 0
    assert report["categories"]["hobby"]["recall@10"] == 1.0


def test_eval_tells_abstention_by_the_threshold_and_recall_without_it(
    told: Told, file: Path
) -> None:
    strict = told("eval", file, "--threshold", 1)
    assert strict["overall"]["abstained"] == 1.0
    assert strict["overall"]["unanswerable_abstained"] == 1.0
    assert strict["overall"]["recall@5"] == 1.0


def test_eval_touches_no_other_store(told: Told, file: Path, home: Path) -> None:
    told("eval", file)
    assert list(home.iterdir()) == []


def test_eval_does_not_write_where_a_configuration_points(
    told: Told, file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    config = tmp_path / "config.toml"
    config.write_text(f'path = "{mine}"\nthreshold = 0.3\n')
    told("eval", file, "--config", config)
    assert not mine.exists()


def test_eval_asks_only_the_first_and_stores_only_what_they_need(told: Told, file: Path) -> None:
    report = told("eval", file, "--limit", 2)
    assert (report["questions"], report["conversations"], report["turns"]) == (2, 1, 3)


def test_eval_prints_a_table_within_the_terminal(done: Done, file: Path) -> None:
    lines = done("eval", file).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("overall") for line in lines)
    assert "left out: 1 questions that name no turn as evidence" in lines


@pytest.mark.parametrize(("name", "starts"), [("c.png", b"\x89PNG"), ("c.svg", b"<?xml")])
def test_eval_draws_a_chart(
    name: str, starts: bytes, done: Done, file: Path, tmp_path: Path
) -> None:
    done("eval", file, "--chart", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(starts)


def test_a_chart_that_cannot_be_drawn_is_refused_before_the_work(
    refused: Refused, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ".svg" in refused(2, "eval", file, "--chart", tmp_path / "c.gif")
    assert "folder" in refused(2, "eval", file, "--chart", tmp_path / "none" / "c.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(2, "eval", file, "--chart", tmp_path / "c.png")
    assert "(MISSING_EXTRA)" in line
    assert "holdfast[plot]" in line


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([{"role": "user", "content": "x"}], "no questions"),
        ([{"conversation_id": "c", "turns": [], "questions": []}], "no question with evidence"),
        ([{"turns": [{"id": "1"}], "questions": []}], "shape"),
        ({"a": 1}, "--format"),
    ],
)
def test_a_file_that_cannot_be_evaluated_says_why(
    value: Any, says: str, refused: Refused, write: Write
) -> None:
    assert says in refused(2, "eval", write("odd.json", value))


def test_eval_refuses_a_threshold_that_is_none(refused: Refused, file: Path) -> None:
    assert "--threshold" in refused(2, "eval", file, "--threshold", "nan")


def test_the_demonstration_answers_most_of_its_questions(told: Told, home: Path) -> None:
    report = told("demo")
    assert report["turns"] >= 200
    assert len(report["questions"]) >= 12
    assert report["answered"] >= 0.7 * len(report["questions"])
    assert all(question["results"] for question in report["questions"])
    assert list(home.iterdir()) == []


def test_the_demonstration_fits_80_columns_and_says_what_to_try_next(
    done: Done, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["holdfast"])  # as the command is called
    text = done("demo", "--keep", tmp_path / "kept")
    lines = text.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "\N{CHECK MARK}" in text
    assert lines[-2].startswith("  holdfast add ")
    assert lines[-1].startswith("  holdfast search ")
    script = play.script()
    kept = told("list", "--home", tmp_path / "kept", "-u", script.user_id)
    assert kept["total"] == len(script.turns)
    done("demo", "--keep", tmp_path / "kept")
    again = told("list", "--home", tmp_path / "kept", "-u", script.user_id)
    assert again["total"] == len(script.turns)


def test_the_shipped_conversation_is_sound() -> None:
    script = play.script()
    turns = {turn.turn_id for turn in script.turns}
    assert len(turns) == len(script.turns)
    assert all(set(asked.evidence_ids) <= turns for asked in script.questions)
    assert all(asked.evidence_ids for asked in script.questions)
    times = [turn.at for turn in script.turns if turn.at is not None]
    assert len(times) == len(script.turns)
    assert times == sorted(times)


def test_depths_reach_as_far_as_the_search() -> None:
    assert max(metrics.RECALL_DEPTHS) == metrics.SEARCH_DEPTH
