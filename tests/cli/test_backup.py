"""`holdfast backup`: made, listed, looked into, verified, restored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Told = Callable[..., Any]


def test_the_way_there_and_back(told: Told, done: Told, run: Told, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "store")]
    place = ["--at", str(tmp_path / "backups")]
    for text in ("I keep bees", "I drink green tea"):
        told("add", text, "--user", "ann", *home)
    made = told("backup", "create", *home, *place)
    assert (made["kind"], made["sealed"], made["whole"]) == ("full", False, True)
    second = told("backup", "create", *home, *place)
    assert (second["kind"], second["base"]) == ("incremental", made["id"])
    listed = told("backup", "list", *home, *place)
    assert [one["id"] for one in listed] == [made["id"], second["id"]]
    shown = told("backup", "show", made["id"], *home, *place)
    assert shown["tables"]["memories"] == 2
    assert told("backup", "verify", *home, *place)["memories"] == 2
    assert made["id"] in done("backup", "list", *home, *place)
    assert "memories" in done("backup", "show", *home, *place)
    other = ["--home", str(tmp_path / "other")]
    assert told("backup", "restore", *other, *place)["memories"] == 2
    found = told("search", "who keeps bees", "--user", "ann", *other)
    assert found["results"][0]["memory"] == "I keep bees"
    refused = run("backup", "restore", *other, *place)
    assert refused.exit_code == 1
    assert "not empty" in refused.output


def test_without_a_place(run: Told, tmp_path: Path) -> None:
    failed = run("backup", "create", "--home", str(tmp_path))
    assert failed.exit_code != 0
    assert "--at" in failed.output
