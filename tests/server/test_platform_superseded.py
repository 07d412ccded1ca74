"""Mem0's `latest_only`, `include_merged`: what something newer took the place of is shown too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.llm_server import LLMServer
from support.served import served

PLAIN = {"when": "", "entities": [], "categories": []}
OSLO = {"turn": 1, "quote": "live in Oslo", "text": "Ann lives in Oslo", "replaces": []}
BERGEN = {"turn": 1, "quote": "moved to Bergen", "text": "Ann lives in Bergen", "replaces": [1]}
NOW, BOTH = {"Ann lives in Bergen"}, {"Ann lives in Bergen", "Ann lives in Oslo"}
ANN = {"filters": {"user_id": "ann"}}


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a server that was told where Ann lives, twice."""
    with LLMServer() as llm:
        config = {"model": "gpt-4o-mini", "openai_base_url": llm.url, "api_key": "k"}
        settings = {"llm": {"provider": "openai", "config": config}}
        llm.say(*(json.dumps({"facts": [{**PLAIN, **fact}]}) for fact in (OSLO, BERGEN)))
        with (
            served(tmp_path / "store", settings) as server,
            httpx.Client(base_url=server.url, headers=server.headers) as client,
        ):
            memory = server.deployment.admin.memory()
            server.run(memory.add("I live in Oslo", user_id="ann", timestamp="2026-01-01"))
            server.run(memory.add("I moved to Bergen", user_id="ann", timestamp="2026-03-01"))
            yield client


def facts(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    told: Any = answer.json()
    found = told if isinstance(told, list) else told["results"]
    return {one["memory"] for one in found if one["memory"].startswith("Ann")}


@pytest.mark.parametrize("wanted", [{"latest_only": False}, {"include_merged": True}], ids=str)
def test_what_was_true_before_is_shown_if_asked(
    moved: httpx.Client, wanted: dict[str, bool]
) -> None:
    latest = {"latest_only": True, "include_merged": False}
    for path in ("/v3/memories/", "/v2/memories/"):
        assert facts(moved.post(path, json=ANN)) == NOW
        assert facts(moved.post(path, json={**ANN, **latest})) == NOW
        assert facts(moved.post(path, json={**ANN, **wanted})) == BOTH
    for path in ("/v3/memories/search/", "/v2/memories/search/"):
        asked = {"query": "Ann lives", **ANN}
        assert facts(moved.post(path, json={**asked, **latest})) == NOW
        assert facts(moved.post(path, json={**asked, **wanted})) == BOTH
    query = {"user_id": "ann", **{name: str(value) for name, value in wanted.items()}}
    assert facts(moved.get("/v1/memories/", params=query)) == BOTH
    page = {**query, "page": "1", "page_size": "5"}
    assert facts(moved.get("/v1/memories/", params=page)) == BOTH


def test_it_is_told_what_took_its_place(moved: httpx.Client) -> None:
    told = moved.post("/v3/memories/", json={**ANN, "latest_only": False}).json()["results"]
    by_text = {one["memory"]: one for one in told}
    old, new = by_text["Ann lives in Oslo"], by_text["Ann lives in Bergen"]
    assert (old["lifecycle_state"], new["lifecycle_state"]) == ("superseded", "active")
    assert old["replaced_by"] == new["id"]
