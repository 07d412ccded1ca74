"""`holdfast index`: how an external index stands, whether it is right, to build it anew."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import registry
from holdfast.backends.sharded.vectors import ShardedVectors
from holdfast.engine import reindexing

Told = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that name a store with an engine in a file."""
    monkeypatch.setitem(registry.VECTORS, "file", "support.file_vectors")
    monkeypatch.setattr(reindexing, "AGAIN_S", 0.0)
    monkeypatch.setattr(reindexing, "SWITCH_S", 0.0)
    config = tmp_path / "holdfast.yaml"
    engine = tmp_path / "engine.db"
    config.write_text(
        f"index:\n  provider: file\n  config:\n    file: {engine}\n    exact_rows: 0\n"
    )
    return ["--config", str(config), "--home", str(tmp_path / "store")]


@pytest.fixture
def filled(told: Told, settings: list[str]) -> list[str]:
    for text in ("I keep bees", "I drink green tea", "The car needs tyres"):
        told("add", text, "--user", "ann", *settings)
    told("index", "verify", "--repair", *settings)  # commands may end before all is fed
    return settings


def forget(settings: list[str], sql: str) -> None:
    engine = Path(settings[1]).parent / "engine.db"
    with sqlite3.connect(engine) as connection:
        connection.execute(sql)
    connection.close()


def test_status_verify_repair(told: Told, run: Told, filled: list[str]) -> None:
    status = told("index", "status", *filled)
    assert (status["external"], status["reachable"]) == (True, True)
    assert (status["points"], status["memories"], status["build"]) == (3, 3, 0)
    assert status["name"] == "file:holdfast"
    assert told("index", "verify", *filled)["missing"] == 0
    forget(filled, "DELETE FROM points WHERE rowid = (SELECT max(rowid) FROM points)")
    failed = run("index", "verify", *filled)
    assert failed.exit_code == 1
    assert "missing" in failed.output
    assert told("index", "verify", "--repair", *filled)["repaired"] is True
    assert run("index", "verify", *filled).exit_code == 0


def test_rebuild(told: Told, done: Told, filled: list[str]) -> None:
    assert told("index", "rebuild", *filled) == {"build": 1, "memories": 3}
    assert told("index", "status", *filled)["name"] == "file:holdfast_1"
    assert told("index", "rebuild", "--discard", *filled) == {"discarded": False}
    found = told("search", "who keeps bees", "--user", "ann", *filled)
    assert found["results"][0]["memory"] == "I keep bees"
    assert "holdfast_1" in done("index", "status", *filled)


def test_the_doctor_tells_of_it(told: Told, run: Told, filled: list[str]) -> None:
    def finding() -> dict[str, Any]:
        document = json.loads(run("doctor", "--json", *filled).stdout)
        checks = {check["name"]: check for check in document["checks"]}
        return checks["index"]

    assert finding()["state"] == "ok"
    away = Path(filled[1]).parent / "engine.away"
    away.touch()
    assert finding()["state"] == "broken"
    assert told("search", "bees", "--user", "ann", *filled)["degraded"] == ["index"]
    told("add", "I also keep hens", "--user", "ann", *filled)
    away.unlink()
    assert "degraded" not in told("search", "hens", "--user", "ann", *filled)


def test_the_embedded_index_has_nothing_to_rebuild(
    told: Told, refused: Told, tmp_path: Path
) -> None:
    home = ["--home", str(tmp_path)]
    told("add", "I keep bees", "--user", "ann", *home)
    status = told("index", "status", *home)
    assert (status["name"], status["external"], status["memories"]) == ("embedded", False, 1)
    assert "made from the records" in refused(1, "index", "rebuild", *home)


def test_an_unknown_index_is_refused(refused: Told, tmp_path: Path) -> None:
    config = tmp_path / "holdfast.yaml"
    config.write_text("index: {provider: nowhere}\n")
    line = refused(2, "stats", "--config", config, "--home", tmp_path)
    assert "index.provider: there is no 'nowhere'" in line
    config.write_text("index: {provider: qdrant, config: {collection: 'a b'}}\n")
    assert "index.config.collection" in refused(2, "stats", "--config", config, "--home", tmp_path)
    shards = "index: {provider: sharded, config: {shards: [{name: a, provider: nowhere}]}}\n"
    for provider in ("nowhere", "sharded"):
        config.write_text(shards.replace("nowhere", provider))
        line = refused(2, "stats", "--config", config, "--home", tmp_path)
        assert f"index.config.shards: there is no engine {provider!r}" in line


async def _at_once(_: float) -> None:
    """In place of the pause between two phases."""


def test_rebalance(
    told: Told, run: Told, tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ShardedVectors.rebalance.__kwdefaults__, "pause", _at_once)

    def shards(*names: str, **leaving: bool) -> None:
        made = [
            {"name": each, "provider": "file", "config": {"file": str(tmp_path / each)}}
            for each in names
        ]
        made[0] |= leaving
        index = {"provider": "sharded", "config": {"shards": made, "exact_rows": 0}}
        Path(settings[1]).write_text(json.dumps({"index": index}))

    shards("a", "b")
    for number in range(8):
        told("add", f"fact {number}", "--user", f"u{number}", *settings)
    told("index", "verify", "--repair", *settings)  # commands may end before all is fed
    assert told("index", "status", *settings)["points"] == 8
    shards("a", "b", "c", drain=True)
    moved = told("index", "rebalance", *settings)
    assert moved["memories"] == 8 + 1, "the sign of the store as well"
    assert 0 < moved["moved"] < 9
    assert told("index", "verify", *settings)["missing"] == 0
    assert told("index", "rebalance", *settings) == {"memories": 0, "moved": 0}
    shards("b", "c")
    assert told("index", "verify", *settings)["points"] == 8
    found = told("search", "fact 3", "--user", "u3", *settings)
    assert [each["memory"] for each in found["results"]] == ["fact 3"]
    assert "degraded" not in found
    shards("b")
    assert "has memories and is not configured" in run("index", "status", *settings).output


def test_only_a_sharded_index_is_rebalanced(run: Told, filled: list[str]) -> None:
    assert "not sharded" in run("index", "rebalance", *filled).output
