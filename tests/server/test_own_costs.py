"""Costs over HTTP: usage by whoever called, budgets, estimates, what Mem0's clients are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.llm_server import LLMServer
from support.served import Served, served

MODEL = "openai:gpt-4o-mini"
PRICE = {MODEL: {"input": 1.0, "output": 2.0, "cached": 0.5, "version": "test"}}


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.say(json.dumps({"facts": []}))
        yield running


@pytest.fixture
def server(tmp_path: Path, llm: LLMServer) -> Iterator[Served]:
    model = {"model": "gpt-4o-mini", "openai_base_url": llm.url, "api_key": "sk-test"}
    settings: dict[str, Any] = {"llm": {"provider": "openai", "config": model}, "prices": PRICE}
    with served(tmp_path / "store", settings) as running:
        yield running


def add(client: httpx.Client, user: str, text: str = "I keep bees.") -> Any:
    body = {"messages": [{"role": "user", "content": text}], "user_id": user}
    answer = client.post("/memories", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_usage_tells_who_spent_what(server: Served, client: httpx.Client) -> None:
    admin = server.deployment.admin
    key = server.run(admin.create_key(permissions=("read", "write")))
    other = httpx.Client(base_url=server.url, headers={"x-api-key": key.secret})
    with other:
        add(client, "ann")
        add(other, "bob", "I grow tea.")
        report = other.get("/holdfast/usage", params={"by": ["user", "key"]}).json()
    assert report["total"]["calls"] == 2
    assert report["total"]["unpriced"] == 0
    found = {(one["user"], one["key"]): one["cost_usd"] for one in report["results"]}
    assert set(found) == {("ann", "root"), ("bob", key.key.id)}
    # the scripted model takes 100 tokens, 80 of them cached, and makes 20
    assert found["bob", key.key.id] == pytest.approx((20 * 1.0 + 80 * 0.5 + 20 * 2.0) / 1e6)
    mine = client.get("/holdfast/usage", params={"by": "day", "key": key.key.id}).json()
    assert [one["calls"] for one in mine["results"]] == [1]


def test_usage_is_not_for_everybody(server: Served, client: httpx.Client) -> None:
    admin = server.deployment.admin
    project = server.run(admin.create_project("Other"))
    key = server.run(admin.create_key(project=project.id, permissions=("read",)))
    fenced = server.run(admin.create_key(permissions=("read",), users=["ann"]))
    add(client, "ann")
    with httpx.Client(base_url=server.url, headers={"x-api-key": key.secret}) as other:
        assert other.get("/holdfast/usage").json()["total"]["calls"] == 0
        refused = other.get("/holdfast/usage", params={"all_projects": True})
        assert refused.status_code == 403
    with httpx.Client(base_url=server.url, headers={"x-api-key": fenced.secret}) as other:
        assert other.get("/holdfast/usage").status_code == 403
    every = client.get("/holdfast/usage", params={"all_projects": True, "by": "project"}).json()
    assert [one["project"] for one in every["results"]] == ["default"]
    assert client.get("/holdfast/usage", params={"by": "nothing"}).status_code == 400


def test_a_spent_budget_is_413(server: Served, client: httpx.Client, llm: LLMServer) -> None:
    admin = server.deployment.admin
    key = server.run(admin.create_key(permissions=("read", "write")))
    body = {"amount": 0.0001, "period": "day", "key": key.key.id}
    made = client.put("/holdfast/budgets", json=body).json()
    assert (made["kind"], made["at_limit"], made["amount"]) == ("key", "block", 0.0001)
    with httpx.Client(base_url=server.url, headers={"x-api-key": key.secret}) as other:
        assert other.put("/holdfast/budgets", json={"amount": 9}).status_code == 403
        said = {"messages": [{"role": "user", "content": "I keep bees."}], "user_id": "ann"}
        for path in ("/memories", "/v1/memories/", "/v3/memories/add/", "/holdfast/add"):
            answer = other.post(path, json=said)
            assert answer.status_code == 413, (path, answer.text)
            told = answer.json()
            assert told["code"] == "BUDGET_EXCEEDED"
            assert told["detail"] == told["error"]
            assert "no room" in told["detail"]
            assert 0 < int(answer.headers["retry-after"]) <= 86_400
        assert other.get("/holdfast/budgets").json()["results"][0]["spent"] == 0
    assert llm.requests == []
    add(client, "ann")
    assert client.delete(f"/holdfast/budgets/{made['id']}").status_code == 200
    assert client.delete(f"/holdfast/budgets/{made['id']}").status_code == 404
    assert client.get("/holdfast/budgets").json() == {"results": []}


def test_a_budget_that_warns_says_so_in_a_header(server: Served, client: httpx.Client) -> None:
    client.put("/holdfast/budgets", json={"amount": 0, "at_limit": "warn", "period": "day"})
    said = {"messages": [{"role": "user", "content": "I keep bees."}], "user_id": "ann"}
    assert client.post("/memories", json=said).headers["x-holdfast-budget-exceeded"] == "day"
    assert "x-holdfast-budget-exceeded" not in client.get("/holdfast/budgets").headers
    [status] = client.get("/holdfast/budgets").json()["results"]
    assert status["spent"] > 0
    assert status["used_ratio"] == 1.0


def test_an_estimate_over_http(client: httpx.Client, llm: LLMServer) -> None:
    found = client.post(
        "/holdfast/usage/estimate", json={"messages": "I keep bees.", "user_id": "a"}
    )
    told = found.json()
    assert told["models"] == [MODEL]
    assert 0 < told["cost_usd"] < told["cost_usd_max"]
    assert told["fits"] is True
    assert llm.requests == []
    wrong = client.post("/holdfast/usage/estimate", json={"messages": []})
    assert wrong.status_code == 400
