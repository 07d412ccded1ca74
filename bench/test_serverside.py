"""Tests of the load generator and of what is asked of the servers: `python -m pytest bench`."""

from __future__ import annotations

from pathlib import Path

import pytest
from serverside import calls, measures
from serverside.servers import ask, language_model, serving, write_calls
from sidebyside.measures import Results
from sidebyside.processes import ContenderError


def _searches(count: int) -> list[calls.Call]:
    return [calls.search("bare", "ann", f"tea {number}") for number in range(count)]


def test_every_call_is_answered_and_timed(tmp_path: Path) -> None:
    file = write_calls(tmp_path / "calls.jsonl", _searches(200))
    with serving("bare", tmp_path / "bare") as server:
        happened = ask(server, file, 8, 20.0, rss_every=50)
    assert len(happened["ns"]["search"]) == 200
    assert min(happened["ns"]["search"]) > 0
    assert not happened["errors"]
    assert len(happened["rss"]) == 4


def test_an_open_loop_keeps_its_rate(tmp_path: Path) -> None:
    file = write_calls(tmp_path / "calls.jsonl", _searches(10_000))
    with serving("bare", tmp_path / "bare") as server:
        happened = ask(server, file, 8, 1.0, rate=100.0)
    assert 95 <= len(happened["ns"]["search"]) <= 101


def test_what_is_refused_does_not_count(tmp_path: Path) -> None:
    file = write_calls(tmp_path / "calls.jsonl", _searches(10))
    with serving("bare", tmp_path / "bare") as server:
        pass
    with pytest.raises(ContenderError):
        ask(server, file, 2, 1.0)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ContenderError, match="did not start"),
        serving("holdfast", tmp_path / "h", "ftp://nowhere"),
    ):
        pass


def test_the_language_model_tells_where_it_is() -> None:
    with language_model(0.0, 0.5) as url:
        assert url.startswith("http://127.0.0.1:")


def test_churn_forgets_what_it_added() -> None:
    asked = [("user-1", f"q{n}") for n in range(32)]
    made = calls.churn(asked, asked, users=4)
    added = {each["body"]["user_id"] for each in made if each["kind"] == "add"}
    forgotten = {each["path"].rpartition("=")[2] for each in made if each["kind"] == "delete"}
    assert added == forgotten
    assert made[-1]["kind"] == "delete"


def test_every_target_belongs_to_a_measure() -> None:
    results = Results(measures.SPECS, measures.TARGETS)
    for target in measures.TARGETS:
        results.record(target.key, "holdfast", 1.0, 1)
        results.record(target.key, "mem0", 1.0, 1)
    assert all(results.verdicts(target.key) for target in measures.TARGETS)
