"""The way of a request: who calls, what is refused, and what every answer carries."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from holdfast import AsyncMemory
from holdfast.errors import StoreUnavailableError
from holdfast.server.app import build
from holdfast.server.pages import policy_of
from support.served import PLAIN, Served


def test_who_calls_is_told(client: httpx.Client) -> None:
    answer = client.get("/v1/ping/")
    assert answer.status_code == 200
    assert answer.json()["project_id"] == "default"
    assert answer.headers["x-request-id"]
    assert int(answer.headers["x-ratelimit-remaining"]) < int(answer.headers["x-ratelimit-limit"])


def test_without_a_key_nothing_is_told(server: Served) -> None:
    answer = httpx.get(f"{server.url}/v1/ping/")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["detail"] == answer.json()["error"]


def test_a_memory_is_found(client: httpx.Client, server: Served) -> None:
    server.run(server.deployment.admin.memory().add("I like tea", user_id="ann"))
    body = {"query": "What do I like?", "filters": {"user_id": "ann"}}
    answer = client.post("/v3/memories/search/", json=body)
    assert [one["memory"] for one in answer.json()["results"]] == ["I like tea"]


@pytest.mark.parametrize(("path", "status"), [("/v3/memories/search/", 503), ("/search", 503)])
def test_a_store_that_is_away_does_not_tell_where_it_is(
    path: str, status: int, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: AsyncMemory, query: str, **_: object) -> None:
        raise StoreUnavailableError("/secret/holdfast.db is locked.", hint="Then retry.")

    monkeypatch.setattr(AsyncMemory, "search", away)
    answer = client.post(path, json={"query": "tea", "filters": {"user_id": "ann"}})
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert "Then retry." in answer.json()["detail"]


def test_every_schema_that_the_document_names_is_in_it() -> None:
    document = build({"path": "never-opened", "server": {"admin_key": "k" * 20}}).openapi()
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert "Problem" in named
    assert named - set(document["components"]["schemas"]) == set()


def test_refusals_cost_a_start_nothing() -> None:
    """FastAPI makes a schema for each model of each answer of each route: a third of a start."""
    app = build({"path": "never-opened", "server": {"admin_key": "k" * 20}})
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(routes) > 100
    assert sum(len(route.response_fields) for route in routes) < 10


def _undescribed(document: dict[str, Any]) -> list[str]:
    """Operations whose good answers are of any form, or of none that is told."""
    found = []
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            good = [answer for status, answer in told["responses"].items() if status[0] == "2"]
            forms = [form for answer in good for form in answer.get("content", {}).values()]
            if not forms or not all(form.get("schema") for form in forms):
                found.append(f"{method} {path}")
    return found


def test_every_good_answer_is_described() -> None:
    """`schemathesis` finds no answer outside of a schema that allows anything."""
    document = build({"path": "never-opened", "server": {"admin_key": "k" * 20}}).openapi()
    assert len(document["paths"]) > 100
    assert _undescribed(document) == []
    document["paths"]["/search"]["post"]["responses"]["200"]["content"]["application/json"] = {}
    assert _undescribed(document) == ["post /search"], "the planted fault"


def _foreign(page: str) -> list[str]:
    """What a browser would fetch for a page from elsewhere."""
    return re.findall(r'(?:src|href|url)\s*[=:(]\s*["\']?((?:https?:)?//[^"\' )]+)', page)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_need_nothing_from_elsewhere(server: Served, path: str) -> None:
    """They are read without the Internet, and keys are typed into one of them."""
    page = httpx.get(f"{server.url}{path}", verify=PLAIN)
    assert page.status_code == 200
    assert _foreign(page.text) == []
    assert _foreign('<script src="https://cdn.example/x.js">') == ["https://cdn.example/x.js"]
    scripts = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert any(script.endswith(".js") for script in scripts)
    for script in scripts:
        found = httpx.get(f"{server.url}{script}", verify=PLAIN)
        assert found.status_code == 200, script
        assert len(found.content) > 10_000
    allowed = page.headers["content-security-policy"]
    assert allowed == policy_of(page.content)
    assert "http" not in allowed
    assert "script-src 'self' 'unsafe" not in allowed


def test_a_script_that_was_changed_on_the_way_is_not_run() -> None:
    assert policy_of(b"<script>a()</script>") != policy_of(b"<script>b()</script>")
