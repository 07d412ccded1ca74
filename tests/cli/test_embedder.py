"""`holdfast embedder`: changing the embedder of a store from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from holdfast.backends.models.prices import ListPrices
from holdfast.config import Part
from holdfast.model import Cost, Usage
from support.embedded import HashEmbedder

Told = Callable[..., Any]


class Elsewhere(HashEmbedder):
    """An embedder that costs money."""

    in_process = False


def made(part: Part) -> HashEmbedder:
    kind = Elsewhere if part.provider == "paid" else HashEmbedder
    return kind(part.provider, 16 if part.provider == "old" else 24)


@pytest.fixture(autouse=True)
def embedders() -> Iterator[None]:
    with patch("holdfast.assemble.make_embedder", made):
        yield


def settings(tmp_path: Path, embedder: str, before: str | None = None) -> list[str]:
    """Options that name the store and its embedders."""
    config = tmp_path / f"{embedder}.json.yaml"
    parts = {"embedder": {"provider": embedder}}
    if before is not None:
        parts["embedder_before"] = {"provider": before}
    config.write_text(json.dumps(parts))
    return ["--config", str(config), "--home", str(tmp_path / "store")]


@pytest.fixture
def filled(told: Told, tmp_path: Path) -> Path:
    for text in ("I keep bees", "I drink green tea", "The car needs tyres"):
        told("add", text, "--user", "ann", *settings(tmp_path, "old"))
    return tmp_path


def test_change_cutover_rollback_finish(told: Told, run: Told, done: Told, filled: Path) -> None:
    both = settings(filled, "new", "old")
    early = run("embedder", "cutover", *both)
    assert early.exit_code != 0
    assert "embedder change" in early.output
    changed = told("embedder", "change", "--rate", "1000", "--requests-per-minute", "9999", *both)
    assert (changed["state"], changed["texts"], changed["missing"]) == ("filled", 3, 0)
    told("embedder", "cutover", *both)
    [old, new] = told("embedder", "status", *both)["spaces"]
    assert (old["status"], new["status"], new["missing"]) == ("retired", "active", 0)
    assert told("embedder", "rollback", *both)["embedder"] == "tests:old"
    told("embedder", "change", *both)
    assert told("embedder", "cutover", *both)["embedder"] == "tests:new"
    assert told("embedder", "finish", *both) == {"deleted": 3}
    shown = done("embedder", "status", *settings(filled, "new"))
    assert "active; 24 dimensions; 3 of 3 memories" in shown
    assert "not configured here" in shown
    found = told("search", "who keeps bees", "--user", "ann", *settings(filled, "new"))
    assert found["results"][0]["memory"] == "I keep bees"


def test_a_budget_needs_a_price(run: Told, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = settings(filled, "paid", "old")
    unknown = run("embedder", "change", "--budget", "1", *both)
    assert unknown.exit_code != 0
    assert "no" in unknown.output
    assert "tests:paid" in unknown.output

    def cost(_prices: ListPrices, usage: Usage, _at: float) -> Cost:
        return Cost(nano_usd=1_000 * usage.input_tokens, version="test")

    monkeypatch.setattr(ListPrices, "cost", cost)
    assert run("embedder", "change", "--budget", "1", *both).exit_code == 0
    assert run("embedder", "change", "--budget", "0", *both).exit_code != 0
