"""`holdfast quarantine`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Memory
from tests.cli.conftest import Run

Done, Told = Callable[..., str], Callable[..., Any]


def test_nothing_is_held(done: Done, told: Told) -> None:
    assert done("quarantine", "list") == "Nothing is held.\n"
    assert told("quarantine", "list") == {"results": [], "total": 0}


def test_held_shown_approved_and_rejected(run: Run, done: Done, told: Told) -> None:
    assert done("add", "--user", "ann", "--untrusted", "Buy \x1b[31mgold.").startswith("held: ")
    done("add", "--user", "ann", "--untrusted", "Sell it.")
    done("add", "--user", "bob", "--untrusted", "Buy tea.")
    assert told("list", "--user", "ann")["results"] == []
    page = told("quarantine", "list", "--user", "ann")
    assert page["total"] == 2
    gold = page["results"][1]["id"]
    table = " ".join(done("quarantine", "list").split())
    assert "user=ann" in table
    assert gold in table, "whole, for it is to be given back"
    assert "call" in table
    assert "\x1b" not in table
    assert "1 of 3" in run("quarantine", "list", "-n", "1").stderr
    shown = done("quarantine", "show", gold)
    assert "gold." in shown
    assert "\x1b" not in shown
    assert told("quarantine", "show", gold)["messages"][0]["reasons"] == ["call"]

    approved = done("quarantine", "approve", gold)
    assert approved.startswith("Approved 1.\n  add: Buy")
    assert told("quarantine", "approve", gold)["count"] == 1, "again, and nothing twice"
    assert len(told("list", "--user", "ann")["results"]) == 1
    assert run("quarantine", "reject", "--all", "--user", "ann").exit_code == 2, "nobody is asked"
    assert done("quarantine", "reject", "--all", "--user", "ann", "--yes") == "Rejected 1.\n"
    assert told("quarantine", "approve", "--all", "--user", "bob")["count"] == 1
    assert len(told("list", "--user", "bob")["results"]) == 1
    assert told("quarantine", "list")["total"] == 0


def test_some_messages_of_an_import_are_decided(done: Done, told: Told, tmp_path: Path) -> None:
    lines = [json.dumps({"role": "user", "content": text}) for text in ("Tea.", "Gold.", "Ink.")]
    talk = tmp_path / "talk.jsonl"
    talk.write_text("\n".join(lines) + "\n")
    done("import", str(talk), "--user", "ann", "--untrusted")
    [row] = told("quarantine", "list")["results"]
    table = done("quarantine", "show", row["id"])
    assert [line.split()[0] for line in table.splitlines() if "Ink." in line] == ["3"]
    said = done("quarantine", "approve", row["id"], "--message", "1", "--message", "3")
    [rest] = told("quarantine", "list")["results"]
    assert said.splitlines()[:2] == ["Approved 1.", f"The other messages are held on: {rest['id']}"]
    assert [rest["messages"], rest["preview"]] == [1, "Gold."]
    assert {one["memory"] for one in told("list", "--user", "ann")["results"]} == {"Tea.", "Ink."}
    assert done("quarantine", "reject", rest["id"], "--message", "1", "--yes") == "Rejected 1.\n"


@pytest.mark.parametrize(
    "words",
    [
        ("approve", "--all", "--user", "ann", "--message", "1"),
        ("approve",),
        ("approve", "--all"),
        ("reject", "--all", "--yes"),
        ("approve", "x", "--all", "--user", "ann"),
        ("reject", "x", "--yes"),
        ("show", "x"),
    ],
    ids=" ".join,
)
def test_what_is_not_meant_is_refused(run: Run, words: tuple[str, ...]) -> None:
    result = run("quarantine", *words)
    assert result.exit_code != 0
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_an_import_of_strangers_is_held_once(
    done: Done, told: Told, write: Callable[..., Path]
) -> None:
    file = write("talk.json", [{"role": "user", "content": f"Turn {n}."} for n in range(3)])
    line = ("import", str(file), "--user", "ann", "--untrusted")
    assert "Held 3 messages" in done(*line)
    again = told(*line)
    assert (again["held"], again["known"]) == (0, 3)
    assert told("quarantine", "list")["total"] == 1


def test_a_key_may_be_untrusted(done: Done, told: Told) -> None:
    made = told("key", "create", "--untrusted", "--label", "crawler")
    assert made["trust"] == "untrusted"
    assert "untrusted" in done("key", "list")


def test_settings_hold_what_tools_say(home: Path, told: Told, write: Callable[..., Path]) -> None:
    file = write("settings.yaml", {"trust": {"roles": {"tool": "untrusted"}}})
    with Memory(file) as memory:
        answer = memory.add([{"role": "tool", "content": "tea"}], user_id="ann")
        assert [item["event"] for item in answer["results"]] == ["HELD"]
    shown = json.dumps(told("config", "--config", str(file)))
    assert '"tool": "untrusted"' in shown
    assert told("quarantine", "list")["total"] == 1
