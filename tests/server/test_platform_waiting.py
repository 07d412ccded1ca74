"""Adds that a language model works on: what is told at once, what after waiting, and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.server.mem0_platform import shapes
from server.platform_client import added, talking, texts
from support.llm_server import LLMServer, chat, failure
from support.served import Served, served

FACT = {
    "turn": 1, "quote": "allergic to peanuts", "text": "Ann is allergic to peanuts.", "when": "",
    "entities": [], "categories": ["health"], "replaces": [],
}  # fmt: skip
GOOD = json.dumps({"facts": [FACT]})
NUTS = {"messages": [{"role": "user", "content": "I am allergic to peanuts."}], "user_id": "ann"}
ADD = "/v3/memories/add/"


@pytest.fixture
def model() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def client(model: LLMServer, tmp_path: Path) -> Iterator[httpx.Client]:
    settings = {"model": "scripted", "openai_base_url": model.url, "api_key": "sk-test"}
    more: dict[str, Any] = {
        "llm": {"provider": "openai", "config": settings},
        "model_timeout_s": 20.0,
        "model_attempts_max": 1,
        "job_attempts_max": 1,
    }
    with served(tmp_path / "store", more) as server, talking(server) as client:
        yield client


def finished(client: httpx.Client, event_id: str) -> dict[str, Any]:
    """The event once nothing is to be done for it any more."""
    while True:
        event: dict[str, Any] = client.get(f"/v1/event/{event_id}/").json()
        if event["status"] in ("SUCCEEDED", "FAILED"):
            return event


def test_an_add_answers_while_the_model_still_thinks(
    client: httpx.Client, model: LLMServer
) -> None:
    model.say(chat(GOOD, delay_s=0.5))
    told = client.post(ADD, json=NUTS).json()
    assert (told["status"], "results" in told) == ("PENDING", False)
    found = client.post(
        "/v3/memories/search/", json={"query": "allergic", "filters": {"user_id": "ann"}}
    )
    assert texts(found) == ["I am allergic to peanuts."]
    event = finished(client, told["event_id"])
    assert [one["data"] for one in event["results"]] == [{"memory": FACT["text"]}]
    assert texts(client.get("/v1/memories/?user_id=ann&categories=health")) == [FACT["text"]]


def test_who_waits_is_told_the_facts(client: httpx.Client, model: LLMServer) -> None:
    model.say(GOOD)
    for number, waiting in enumerate(({"wait": True}, {"async_mode": False})):
        told = client.post(ADD, json={**NUTS, "user_id": f"u{number}", **waiting}).json()
        assert told["status"] == "SUCCEEDED"
        assert [one["memory"] for one in told["results"]] == [FACT["text"]]
    early = client.post("/v1/memories/", json={**NUTS, "async_mode": False}).json()
    assert [(one["memory"], one["event"]) for one in early] == [(FACT["text"], "ADD")]


def test_the_first_generation_is_told_of_the_event(client: httpx.Client, model: LLMServer) -> None:
    model.say(chat(GOOD, delay_s=0.5))
    body = {**NUTS, "output_format": "v1.1", "async_mode": True}
    [item] = client.post("/v1/memories/", json=body).json()["results"]
    assert item["status"] == "PENDING"
    assert finished(client, item["event_id"])["status"] == "SUCCEEDED"


def test_a_model_that_fails_is_told_of(client: httpx.Client, model: LLMServer) -> None:
    model.say(failure(401, "sk-secret is wrong"))
    told = client.post(ADD, json={**NUTS, "wait": True}).json()
    assert (told["status"], told["error_code"]) == ("FAILED", "MODEL_REFUSED")
    assert "sk-secret" not in json.dumps(told)
    event = client.get(f"/v1/event/{told['event_id']}/").json()
    assert (event["status"], event["error"]) == ("FAILED", told["error"])
    assert client.get("/v1/events/", params={"status": "FAILED"}).json()["count"] == 1


def test_instructions_reach_the_model(client: httpx.Client, model: LLMServer) -> None:
    model.say(GOOD)
    told = {
        "custom_instructions": "Write like a pirate.",
        "agent_custom_instructions": "Mind the agent.",
        "includes": "allergies",
        "excludes": "pets",
        "custom_categories": [{"health": "What ails them."}],
    }
    client.post(ADD, json={**NUTS, **told, "wait": True})
    asked = json.dumps(model.bodies[-1])
    for text in ("like a pirate", "concerns: allergies", "concerns: pets", "health"):
        assert text in asked
    assert "Mind the agent" not in asked  # no agent is named
    client.post(ADD, json={**NUTS, **told, "agent_id": "bot", "wait": True})
    assert "Mind the agent" in json.dumps(model.bodies[-1])


def test_limits_of_a_user_hold_wherever_the_user_is_named(tmp_path: Path) -> None:
    limits = {"user_limit_search": "2/hour", "user_limit_add": "2/hour"}
    with served(tmp_path / "store", **limits) as server, talking(server) as client:
        for _ in range(2):
            added(client, "I like tea")
        for whose in ({"user_id": "ann"}, {"filters": {"AND": [{"user_id": "ann"}]}}):
            answer = client.post(ADD, json={"messages": "I like tea", **whose})
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
        added(client, "I like tea", "bob")
        ways = ({"user_id": "ann"}, {"AND": [{"user_id": "ann"}]}, {"user_id": {"in": ["ann"]}})
        found = [
            client.post("/v3/memories/search/", json={"query": "tea", "filters": filters})
            for filters in ways
        ]
        assert [answer.status_code for answer in found] == [200, 200, 429]


def test_an_answer_outside_the_document_is_caught(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault of every test that talks through `talking`."""
    with talking(server) as client:
        added(client, "I like tea")
        monkeypatch.setattr(shapes, "_state", lambda memory: "undocumented")
        with pytest.raises(AssertionError, match="get /v1/memories/ 200"):
            client.get("/v1/memories/?user_id=ann")
