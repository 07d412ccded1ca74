"""stats, config, events and doctor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.redis import BINARY, Redis, free_port, running

Done = Callable[..., str]
Told = Callable[..., Any]
Refused = Callable[..., str]


def test_stats_count_and_name_users_first(done: Done, told: Told) -> None:
    for user in ("ada", "bob"):
        told("add", "-u", user, "--run", "r", "I keep bees.")
    counts = told("stats")
    assert counts["memories"] == 2
    assert {(e["type"], e["name"]) for e in counts["named"]} == {
        ("user", "ada"),
        ("user", "bob"),
        ("run", "r"),
    }
    rows = [line.split()[:2] for line in done("stats").splitlines()[-3:]]
    assert rows == [["user", "ada"], ["user", "bob"], ["run", "r"]]


def test_config_says_where_each_setting_comes_from_and_hides_secrets(
    done: Done, told: Told, tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "c.toml"
    file.write_text('threshold = 0.25\ncontent_key = "not for everybody"\n')
    settings = told("config", "--config", file)
    assert settings["threshold"]["value"] == 0.25
    assert "c.toml" in settings["threshold"]["source"]
    assert settings["path"] == {"value": str(home), "source": "environment HOLDFAST_HOME"}
    assert settings["project"]["source"] == "default"
    shown = done("config", "--config", file)
    assert "threshold" in shown
    assert "not for everybody" not in shown
    assert "not for everybody" not in str(settings)
    assert list(home.iterdir()) == []


def test_home_goes_before_environment_and_file(told: Told, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('path = "elsewhere"\n')
    settings = told("config", "--config", file, "--home", tmp_path / "here")
    assert settings["path"] == {"value": str(tmp_path / "here"), "source": "argument"}


def test_doctor_finds_a_fresh_machine_healthy_and_makes_no_store(
    done: Done, told: Told, home: Path
) -> None:
    report = told("doctor")
    assert report["healthy"]
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert states == dict.fromkeys(
        (
            *("python", "parts", "settings", "folder", "disk", "store", "index"),
            *("cache", "backups", "embedder", "language model"),
        ),
        "ok",
    )
    assert list(home.iterdir()) == []
    assert max(map(len, done("doctor").splitlines())) <= 80


def test_doctor_tells_a_variable_that_is_misspelt(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_TRESHOLD", "0.2")
    monkeypatch.setenv("HOLDFAST_MY_OWN", "for ${HOLDFAST_MY_OWN} in a file")
    monkeypatch.setenv("HOLDFAST_WORKERS", "1")
    result = run("doctor", "--json")
    (check,) = [one for one in json.loads(result.stdout)["checks"] if one["name"] == "settings"]
    assert check["state"] == "warning"
    assert "HOLDFAST_TRESHOLD sets nothing (is HOLDFAST_THRESHOLD meant?)" in check["finding"]
    assert "MY_OWN" not in check["finding"]
    assert result.exit_code == 0


def test_doctor_reads_the_store_that_is_there(told: Told) -> None:
    told("add", "-u", "ada", "I keep bees.")
    checks = {check["name"]: check for check in told("doctor")["checks"]}
    assert checks["store"]["finding"].startswith("1 memories")


def test_doctor_asks_the_redis_of_the_cache(told: Told, run: Any, tmp_path: Path) -> None:
    def found(url: str, **more: Any) -> dict[str, Any]:
        file = tmp_path / "settings.yaml"
        part = {"provider": "redis", "config": {"url": url, **more}}
        file.write_text(json.dumps({"cache": part}))
        report = json.loads(run("doctor", "--json", "--config", file).stdout)
        return next(check for check in report["checks"] if check["name"] == "cache")

    if BINARY:
        server = Redis(tmp_path / "redis")
        with running([server]):
            check = found(server.url)
            assert check["state"] == "ok"
            assert check["finding"].startswith("Redis answers in ")
    check = found(f"redis://127.0.0.1:{free_port()}/0")
    assert check["state"] == "warning"
    assert "does not answer" in check["finding"]
    check = found("redis://x", clusters=True)
    assert check["state"] == "broken"
    assert "Did you mean 'cluster'?" in check["finding"]


def test_clearing_the_cache(done: Done, told: Told, tmp_path: Path) -> None:
    assert "each process keeps its own" in done("cache", "clear")
    assert told("cache", "clear") == {"cleared": False}
    if BINARY:
        server = Redis(tmp_path / "redis")
        with running([server]):
            file = tmp_path / "settings.yaml"
            part = {"provider": "redis", "config": {"url": server.url}}
            file.write_text(json.dumps({"cache": part}))
            told("cache", "clear", "--config", file)
            before = server.say("GET", "holdfast:1:epoch")
            assert "cleared" in done("cache", "clear", "--config", file)
            assert server.say("GET", "holdfast:1:epoch") != before


def test_doctor_names_a_missing_package(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.cli import diagnosis

    monkeypatch.setattr(diagnosis, "PARTS", ("numpy", "no-such-package"))
    result = run("doctor")
    assert result.exit_code == 1
    assert "not installed: no-such-package" in result.stdout


def test_events_of_a_store_without_jobs(done: Done, told: Told) -> None:
    assert done("events") == "No events.\n"
    assert told("events") == {"results": [], "total": 0}


def test_events_are_listed_and_shown(done: Done, told: Told, refused: Refused) -> None:
    event = told("add", "-u", "ada", "--key", "k", "I keep bees.")["event_id"]
    assert event in told("events")["results"][0]["id"]
    assert event in done("events")
    assert "SUCCEEDED" in done("events", "--status", "succeeded")
    assert told("events", "--status", "failed") == {"results": [], "total": 0}
    assert told("events", event)["status"] == "SUCCEEDED"
    assert told("events", event, "--wait")["status"] == "SUCCEEDED"
    assert "I keep bees." in done("events", event)
    assert "failed" in refused(2, "events", event, "--rerun")
