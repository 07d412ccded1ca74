"""The command line with a language model: a scripted one, on a real socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.llm_server import LLMServer, failure

Done = Callable[..., str]
Told = Callable[..., Any]

BEES = "I keep three hives of bees in Kent."
ANSWER = json.dumps(
    {
        "facts": [
            {"turn": 1, "quote": "three hives of bees", "text": "Keeps three hives of bees",
             "when": "", "entities": [], "categories": [], "replaces": []}
        ]
    }
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def config(server: LLMServer, tmp_path: Path) -> Path:
    """A configuration that names the scripted model."""
    file = tmp_path / "config.toml"
    file.write_text(
        "model_attempts_max = 1\nmodel_timeout_s = 5\njob_attempts_max = 1\nworkers = 1\n"
        '[llm]\nprovider = "openai"\n'
        f'[llm.config]\nmodel = "scripted"\nopenai_base_url = "{server.url}"\napi_key = "sk-x"\n'
    )
    return file


def test_add_extracts_and_says_what(server: LLMServer, config: Path, done: Done) -> None:
    server.say(ANSWER)
    said = done("add", "-u", "ada", "--config", config, BEES)
    assert said.startswith("remembered: Keeps three hives of bees")
    found = done("search", "-u", "ada", "--config", config, "bees")
    assert "Keeps three hives of bees" in found


def test_add_without_inference_asks_no_model(server: LLMServer, config: Path, done: Done) -> None:
    assert BEES in done("add", "-u", "ada", "--config", config, "--no-infer", BEES)
    assert server.requests == []


def test_a_model_that_refuses_leaves_the_text_kept_and_the_event_to_look_at(
    server: LLMServer, config: Path, run: Any, told: Told, refused: Any
) -> None:
    server.say(failure(401, "bad key"))
    result = run("add", "-u", "ada", "--config", config, BEES)
    assert result.exit_code == 5
    assert "kept" in result.stderr
    (event,) = told("events", "--config", config)["results"]
    assert event["id"] in result.stderr
    assert told("search", "-u", "ada", "--config", config, "bees")["results"] != []
    assert event["status"] == "FAILED"
    server.say(ANSWER)
    assert "waits" in refused(2, "events", event["id"], "--cancel", "--config", config)
    again = told("events", event["id"], "--rerun", "--config", config)
    assert again["status"] == "SUCCEEDED"
    assert [item["memory"] for item in again["results"]] == ["Keeps three hives of bees"]


def test_import_with_inference_extracts_once(
    server: LLMServer, config: Path, told: Told, write: Callable[..., Path]
) -> None:
    server.say(ANSWER)
    file = write("chat.json", [{"role": "user", "content": BEES}])
    assert told("import", file, "-u", "ada", "--infer", "--config", config)["added"] == 1
    asked = len(server.requests)
    again = told("import", file, "-u", "ada", "--infer", "--config", config)
    assert (again["added"], again["known"]) == (0, 1)
    assert len(server.requests) == asked


def test_an_import_whose_extraction_fails_keeps_the_messages_and_says_so(
    server: LLMServer, config: Path, run: Any, write: Callable[..., Path]
) -> None:
    server.say(failure(401, "bad key"))
    file = write("chat.json", [{"role": "user", "content": BEES}])
    result = run("import", file, "-u", "ada", "--infer", "--config", config)
    assert result.exit_code == 5
    assert "1 messages are kept" in result.stderr


def test_doctor_asks_the_model_only_when_told_to(
    server: LLMServer, config: Path, told: Told, run: Any
) -> None:
    checks = {c["name"]: c for c in told("doctor", "--config", config)["checks"]}
    assert "--probe" in checks["language model"]["finding"]
    assert server.requests == []
    server.say(ANSWER)
    checks = {c["name"]: c for c in told("doctor", "--probe", "--config", config)["checks"]}
    assert checks["language model"]["state"] == "ok"
    assert len(server.requests) == 1
    server.say(failure(401, "bad key"))
    result = run("doctor", "--probe", "--json", "--config", config)
    assert result.exit_code == 1
    checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
    assert checks["language model"]["state"] == "broken"
    assert "sk-x" not in result.output
