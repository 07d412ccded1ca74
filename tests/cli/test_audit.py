"""audit: who did what, from the command line."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.config import load_config

Done = Callable[..., str]
Told = Callable[..., Any]
Refused = Callable[..., str]
Run = Callable[..., Any]


@pytest.fixture
def filled(done: Done) -> Path:
    """A store in which something was done; its database."""
    done("add", "I keep bees", "--user", "ann")
    done("add", "I drink tea", "--user", "bob")
    done("key", "create", "--label", "x")
    return Path(load_config().config.path) / "holdfast.db"


def meddle(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.usefixtures("filled")
def test_who_did_what(done: Done, told: Told) -> None:
    shown = done("audit", "list")
    for word in ("add", "user=ann", "create_key", "cli"):
        assert word in shown
    found = told("audit", "list", "--user", "ann")["results"]
    assert [(row["action"], row["via"], row["principal_kind"]) for row in found] == [
        ("add", "cli", "user")
    ]
    page = told("audit", "list", "--action", "add", "--limit", 1)
    assert page["results"][0]["user_id"] == "bob"
    rest = told("audit", "list", "--action", "add", "--cursor", page["cursor"])
    assert [row["user_id"] for row in rest["results"]] == ["ann"]
    assert done("audit", "list", "--outcome", "denied") == "No rows.\n"


def test_meddling_is_found(filled: Path, done: Done, told: Told, run: Run, tmp_path: Path) -> None:
    assert "good" in done("audit", "verify")
    kept = tmp_path / "head.json"
    kept.write_text(done("audit", "head", "--json"))
    assert json.loads(kept.read_text())["results"][0]["no"] >= 3
    done("audit", "verify", "--since-head", kept)
    row = done("audit", "head").splitlines()[-1].split()[-1]
    assert told("audit", "verify", "--expect", row)["results"][0]["good"]
    meddle(filled, "UPDATE audit SET user_id = 'eve' WHERE no = 1")
    result = run("audit", "verify", "--json")
    assert result.exit_code == 4
    [verdict] = json.loads(result.stdout)["results"]
    assert (verdict["fault"]["no"], verdict["fault"]["kind"]) == (1, "changed")
    assert "changed" in run("audit", "verify").stdout


def test_a_tail_that_was_cut_off_with_its_head_is_found(
    filled: Path, done: Done, run: Run, tmp_path: Path
) -> None:
    before = filled.read_bytes()
    done("add", "something to hide", "--user", "eve")
    kept = tmp_path / "head.json"
    kept.write_text(done("audit", "head", "--json"))
    for end in ("", "-wal", "-shm"):
        filled.with_name(filled.name + end).unlink(missing_ok=True)
    filled.write_bytes(before)
    assert run("audit", "verify").exit_code == 0, "a whole older state: nothing in it tells"
    assert run("audit", "verify", "--since-head", kept).exit_code == 4


@pytest.mark.usefixtures("filled")
def test_export(done: Done, told: Told, tmp_path: Path) -> None:
    lines = done("audit", "export", "--action", "add").splitlines()
    assert [json.loads(line)["user_id"] for line in lines] == ["ann", "bob"]
    target = tmp_path / "audit.csv"
    assert told("audit", "export", "--format", "csv", "--to", target)["rows"] >= 3
    found = list(csv.DictReader(io.StringIO(target.read_text())))
    assert found[0]["action"] == "add"
    assert target.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("filled")
def test_prune(done: Done, told: Told, refused: Refused) -> None:
    refused(2, "audit", "prune", "--before", "2100-01-01")
    assert told("audit", "prune")["pruned"] == 0, "nothing is older than for good"
    assert told("audit", "prune", "--before", "2100-01-01", "--yes")["pruned"] >= 2
    assert "good" in done("audit", "verify")


def test_wrong_words(refused: Refused, tmp_path: Path) -> None:
    assert "Use ok, begun" in refused(2, "audit", "list", "--outcome", "fine")
    assert "jsonl or csv" in refused(2, "audit", "export", "--format", "xml")
    assert "NUMBER:HASH" in refused(2, "audit", "verify", "--expect", "7")
    (tmp_path / "x.json").write_text("[]]")
    assert "audit head" in refused(2, "audit", "verify", "--since-head", tmp_path / "x.json")
