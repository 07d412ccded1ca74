"""Mem0's open-source server: settings, suggested instructions, the log of requests, bad models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.llm_server import LLMServer, chat, failure
from support.served import Served, served

SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def model() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


def with_model(model: LLMServer) -> dict[str, Any]:
    config = {"model": "scripted", "openai_base_url": model.url, "api_key": SECRET}
    return {"llm": {"provider": "openai", "config": config}, "model_attempts_max": 1}


@pytest.fixture
def thinking(model: LLMServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """Talks to a server with a language model as its administrator."""
    with (
        served(tmp_path / "thinking", with_model(model)) as running,
        httpx.Client(base_url=running.url, headers=running.headers, timeout=30) as talking,
    ):
        yield talking


def test_the_settings_are_told_without_secrets(thinking: httpx.Client) -> None:
    answer = thinking.get("/configure")
    assert answer.json()["llm"]["provider"] == "openai"
    assert answer.json()["llm"]["config"] == {
        "model": "scripted",
        "openai_base_url": answer.json()["llm"]["config"]["openai_base_url"],
        "api_key": "***",
    }
    assert answer.json()["embedder"]["provider"] == "wordllama"
    assert SECRET not in answer.text
    found = thinking.get("/configure/providers").json()
    assert {"openai", "anthropic"} <= set(found["llm"])
    assert {"openai", "wordllama"} <= set(found["embedder"])


def test_who_is_no_administrator_sees_no_more_than_the_models_names(
    server: Served, client: httpx.Client
) -> None:
    key = server.run(server.deployment.admin.create_key()).secret
    answer = client.get("/configure", headers={"Authorization": f"Token {key}"})
    assert answer.json()["embedder"] == {"provider": "wordllama", "config": {}}
    refused = client.post("/configure", json={}, headers={"Authorization": f"Token {key}"})
    assert refused.status_code == 403


def test_project_settings_are_set_for_good(server: Served, client: httpx.Client) -> None:
    answer = client.post("/configure", json={"custom_instructions": "Keep what people eat."})
    assert answer.json() == {"message": "Configuration set successfully"}
    assert client.get("/configure").json()["custom_instructions"] == "Keep what people eat."
    info = server.run(server.deployment.admin.project())
    assert info.settings == {"custom_instructions": "Keep what people eat."}
    client.post("/configure", json={"custom_instructions": None})
    assert client.get("/configure").json()["custom_instructions"] is None


def test_what_is_read_at_the_start_may_be_repeated_and_not_changed(
    thinking: httpx.Client,
) -> None:
    known = thinking.get("/configure").json()
    assert thinking.post("/configure", json=known).status_code == 200
    for changed in [
        {"llm": {"provider": "anthropic", "config": {}}},
        {"llm": {"provider": "openai", "config": {"api_key": "sk-another"}}},
        {"llm": None},
        {"embedder": {"provider": "openai"}},
        {"vector_store": {"provider": "qdrant"}},
    ]:
        body = {"custom_instructions": "Never kept", **changed}
        answer = thinking.post("/configure", json=body)
        assert answer.status_code == 501
        assert "restart" in answer.json()["detail"]
    assert thinking.get("/configure").json() == known


@pytest.mark.parametrize(
    "body", [{"colour": "red"}, {"custom_instructions": 7}, {"custom_categories": "food"}]
)
def test_unknown_and_wrong_settings_are_refused(client: httpx.Client, body: Any) -> None:
    answer = client.post("/configure", json={"decay": True, **body})
    assert answer.status_code == 400
    assert client.get("/configure").json()["decay"] is None


def test_instructions_are_suggested(thinking: httpx.Client, model: LLMServer) -> None:
    said = {"custom_instructions": "Keep distances.", "test_message": "I ran 10 km."}
    model.say(chat(json.dumps(said)))
    answer = thinking.post("/generate-instructions", json={"use_case": "A coach for runners"})
    assert answer.json() == said
    assert len(model.requests) == 1
    model.say(chat('{"custom_instructions": " "}'))
    empty = thinking.post("/generate-instructions", json={"use_case": "x"})
    assert (empty.status_code, empty.json()["code"]) == (502, "unknown")


def test_without_a_model_nothing_is_suggested(client: httpx.Client) -> None:
    answer = client.post("/generate-instructions", json={"use_case": "A coach for runners"})
    assert answer.status_code == 501
    assert "Configure `llm`" in answer.json()["detail"]
    assert client.post("/generate-instructions", json={}).status_code == 422


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "provider_auth_failed"),
        (429, "provider_rate_limited"),
        (503, "provider_unavailable"),
        (400, "provider_bad_request"),
    ],
)
def test_a_model_that_fails_is_told_as_mem0_does(
    thinking: httpx.Client, model: LLMServer, status: int, code: str
) -> None:
    model.say(failure(status, "Ann's diagnosis"))
    answer = thinking.post("/generate-instructions", json={"use_case": "x"})
    assert answer.status_code == 502
    assert answer.json()["code"] == code
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "diagnosis" not in answer.text
    assert SECRET not in answer.text


def test_an_add_whose_model_refuses_is_502_and_keeps_the_turns(
    thinking: httpx.Client, model: LLMServer
) -> None:
    model.say(failure(401))
    body = {"messages": [{"role": "user", "content": "I like tea"}], "user_id": "ann"}
    answer = thinking.post("/memories", json=body)
    assert answer.status_code == 502
    assert answer.json()["event_id"]
    found = thinking.post("/search", json={"query": "tea", "user_id": "ann"}).json()["results"]
    assert [one["memory"] for one in found] == ["I like tea"]


def test_requests_are_listed_without_what_was_said(server: Served, client: httpx.Client) -> None:
    client.get("/memories/some-id")
    client.get("/memories", params={"user_id": "somebody-secret"})
    client.get("/nowhere/secret")
    httpx.get(f"{server.url}/memories")
    rows = client.get("/requests").json()
    assert [(row["method"], row["path"], row["status_code"]) for row in rows] == [
        ("GET", "/memories", 200),
        ("GET", "/memories/{memory_id}", 200),
    ]
    assert {"id", "latency_ms", "auth_type", "created_at", "request_id"} <= rows[0].keys()
    assert rows[0]["auth_type"] == "admin_api_key"
    assert "secret" not in json.dumps(rows)
    assert len(client.get("/requests", params={"limit": 1}).json()) == 1
    assert client.get("/requests", params={"limit": 201}).status_code == 422


def test_a_project_sees_its_own_requests(server: Served, client: httpx.Client) -> None:
    admin = server.deployment.admin
    server.run(admin.create_project("Shop", project_id="shop"))
    key = server.run(admin.create_key(project="shop", permissions=("admin", "read"))).secret
    client.get("/entities")
    with httpx.Client(base_url=server.url, headers={"X-API-Key": key}) as shop:
        assert shop.get("/requests").json() == []
        (row,) = shop.get("/requests").json()
        assert (row["project"], row["auth_type"], row["path"]) == ("shop", "api_key", "/requests")


def test_the_log_keeps_so_many(server: Served, client: httpx.Client) -> None:
    log = server.deployment.requests
    client.get("/entities")
    for _ in range(1_200):
        log.note(log.latest(1, None)[0])
    assert len(log.latest(5_000, None)) == 1_000


def test_without_authentication_everybody_may(tmp_path: Path) -> None:
    with served(tmp_path / "open", auth_disabled=True, admin_key="") as running:
        assert httpx.get(f"{running.url}/memories").json() == {"results": []}
        (row,) = httpx.get(f"{running.url}/requests").json()
        assert row["auth_type"] == "disabled"
