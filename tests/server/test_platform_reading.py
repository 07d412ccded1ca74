"""The platform's routes for searching and listing, in each generation's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.platform_client import added, talking, texts
from support.served import Served

ANN = {"user_id": "ann"}


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with talking(server) as client:
        yield client


def search(client: httpx.Client, version: str = "v3", **body: Any) -> httpx.Response:
    asked = {"query": "What do I like to drink?", **body}
    return client.post(f"/{version}/memories/search/", json=asked)


def test_a_search_finds_what_the_filters_name(client: httpx.Client) -> None:
    added(client, "I like to drink tea", run_id="r1")
    added(client, "I like to drink wine", "bob")
    answer = search(client, filters=ANN)
    assert texts(answer) == ["I like to drink tea"]
    [hit] = answer.json()["results"]
    assert 0 < hit["score"] <= 1
    assert hit["run_id"] == hit["session_id"] == "r1"
    assert "score_breakdown" not in hit
    assert texts(search(client, filters={"user_id": "*"}, top_k=1000)) != []
    explained = search(client, filters=ANN, explain=True).json()["results"][0]
    assert set(explained["score_breakdown"]) == {"semantic", "bm25", "entity"}


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "named positively"),
    ({"user_id": "ann"}, "Top-level"),
    ({"user_id": "ann", "filters": ANN}, "Top-level"),
    ({"filters": {"NOT": [ANN]}}, "named positively"),
    ({"filters": {"OR": [ANN, {"categories": "food"}]}}, "named positively"),
    ({"filters": ANN, "query": ""}, "query"),
    ({"filters": ANN, "query": "  "}, "query"),
    ({"filters": ANN, "top_k": 0}, "top_k"),
    ({"filters": ANN, "top_k": 1001}, "top_k"),
    ({"filters": ANN, "threshold": 1.5}, "threshold"),
    ({"filters": [ANN]}, "filters"),
    ({"filters": {**ANN, "created_at": {"gte": "soon"}}}, "created_at"),
    ({"filters": ANN, "project_id": "another"}, "project"),
)


def test_a_search_that_is_wrong_is_told_so(client: httpx.Client) -> None:
    for body, told in WRONG:
        answer = search(client, **body)
        assert answer.status_code == (404 if told == "project" else 400), body
        assert told in answer.json()["detail"]


def test_very_deep_filters_are_refused(client: httpx.Client) -> None:
    deep = '{"AND": [' * 1_000 + "{}" + "]}" * 1_000
    answer = client.post(
        "/v3/memories/search/",
        content=f'{{"query": "tea", "filters": {deep}}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_earlier_generations_name_ids_at_the_top(client: httpx.Client, version: str) -> None:
    added(client, "I like to drink tea")
    added(client, "I like to drink coffee")
    common = {"user_id": "ann", "org_id": "any", "project_id": "default", "threshold": 0.0}
    bare = search(client, version, **common)
    assert isinstance(bare.json(), list)
    assert len(bare.json()) == 2
    assert len(search(client, version, **common, limit=1).json()) == 1
    wrapped = search(client, version, **common, output_format="v1.1").json()
    assert len(wrapped["results"]) == 2
    both = search(client, version, **common, filters={"agent_id": "bot"})
    assert both.json() == []


def test_thresholds_differ_by_generation(client: httpx.Client) -> None:
    for text in ("I like to drink tea", "The bridge was closed in May", "Who likes tea?"):
        added(client, text)
    scores = [one["score"] for one in search(client, filters=ANN, threshold=0).json()["results"]]
    of_v3 = [one["score"] for one in search(client, filters=ANN).json()["results"]]
    of_v2 = [one["score"] for one in search(client, "v2", filters=ANN).json()]
    assert of_v3 == [score for score in scores if score >= 0.1]
    assert of_v2 == [score for score in scores if score >= 0.3]
    assert of_v2


def test_what_narrows_a_search(client: httpx.Client) -> None:
    added(client, "I like to drink tea", metadata={"at": "work"})
    added(client, "I like to drink coffee", metadata={"at": "home"})
    added(client, "I liked to drink milk", expiration_date="2020-01-01")
    assert texts(search(client, filters=ANN, metadata={"at": "work"})) == ["I like to drink tea"]
    assert texts(search(client, filters=ANN, categories=["food"])) == []
    assert len(texts(search(client, filters=ANN, show_expired=True))) == 3
    [hit] = search(client, filters=ANN, fields=["memory"], top_k=1).json()["results"]
    assert set(hit) == {"id", "memory"}
    assert search(client, filters=ANN, reference_date="2026-03-01").status_code == 200
    assert search(client, filters=ANN, reference_date=1_772_356_200).status_code == 200
    reranked = search(client, filters=ANN, rerank=True).json()
    assert reranked["degraded"] == ["reranker"]


def test_pages_tell_the_count_and_their_neighbours(client: httpx.Client) -> None:
    for number in range(5):
        added(client, f"Number {number}")
    first = client.post("/v3/memories/", params={"page_size": 2}, json={"filters": ANN}).json()
    assert (first["count"], first["previous"]) == (5, None)
    assert [one["memory"] for one in first["results"]] == ["Number 4", "Number 3"]
    second = client.post(first["next"], json={"filters": ANN}).json()
    assert [one["memory"] for one in second["results"]] == ["Number 2", "Number 1"]
    assert client.post(second["previous"], json={"filters": ANN}).json() == first
    last = client.post("/v3/memories/", json={"filters": ANN, "page": 3, "page_size": 2}).json()
    assert ([one["memory"] for one in last["results"]], last["next"]) == (["Number 0"], None)
    beyond = client.post("/v3/memories/", params={"page": 9}, json={"filters": ANN}).json()
    assert (beyond["count"], beyond["results"]) == (5, [])
    for bad in ({"page": 0}, {"page_size": 1_001}, {"page": "x"}):
        assert client.post("/v3/memories/", params=bad, json={"filters": ANN}).status_code == 400


def test_a_list_needs_somebody(client: httpx.Client) -> None:
    for body in ({}, {"filters": {}}, {"filters": {"NOT": [ANN]}}, {"user_id": "ann"}):
        assert client.post("/v3/memories/", json=body).status_code == 400
    assert client.post("/v2/memories/", json={}).status_code == 400
    assert client.get("/v1/memories/").status_code == 400


def test_earlier_generations_get_a_bare_list_unless_they_ask_for_a_page(
    client: httpx.Client,
) -> None:
    for number in range(3):
        added(client, f"Number {number}")
    every = ["Number 2", "Number 1", "Number 0"]
    paged = {"page": 1, "page_size": 2}
    bare = client.get("/v1/memories/", params=ANN)
    assert isinstance(bare.json(), list)
    assert texts(bare) == every
    assert texts(client.post("/v2/memories/", json=ANN)) == every
    assert texts(client.post("/v2/memories/", json={"filters": ANN, "limit": 1})) == every[:1]
    assert texts(client.get("/v1/memories/", params={**ANN, "top_k": 1})) == every[:1]
    for page in (
        client.get("/v1/memories/", params={**ANN, **paged}).json(),
        client.post("/v2/memories/", json=ANN, params=paged).json(),
    ):
        assert page["count"] == 3
        assert [one["memory"] for one in page["results"]] == every[:2]
        assert page["next"]


def test_a_bare_list_is_whole_however_long_it_is(
    client: httpx.Client, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.server.mem0_platform import reading

    for number in range(5):
        added(client, f"Number {number}")
    monkeypatch.setattr(reading, "PAGE_SIZE_MAX", 2)
    assert len(client.get("/v1/memories/", params=ANN).json()) == 5
    monkeypatch.setattr(reading, "BARE_LIST_MAX", 4)
    answer = client.get("/v1/memories/", params=ANN)
    assert answer.status_code == 400
    assert "page" in answer.json()["detail"]


def test_what_narrows_a_list(client: httpx.Client) -> None:
    added(client, "I like Tea")
    added(client, "I like coffee", expiration_date="2020-01-01")
    params: list[tuple[str, str]] = [("user_id", "ann")]

    def listed(*more: tuple[str, str]) -> list[str]:
        return texts(client.get("/v1/memories/", params=[*params, *more]))

    assert listed() == ["I like Tea"]
    assert listed(("show_expired", "true")) == ["I like coffee", "I like Tea"]
    assert listed(("keywords", "tea")) == ["I like Tea"]
    assert listed(("keywords", "milk")) == []
    assert listed(("categories", "food")) == []
    assert listed(("start_date", "2020-01-01")) == ["I like Tea"]
    assert listed(("end_date", "2020-01-01")) == []
    fields = [*params, ("fields", "memory"), ("fields", "created_at")]
    [one] = client.get("/v1/memories/", params=fields).json()
    assert set(one) == {"id", "memory", "created_at"}
    body = {"filters": ANN, "keywords": "tea", "start_date": "2020-01-01"}
    assert texts(client.post("/v3/memories/", json=body)) == ["I like Tea"]
    past = client.post("/v3/memories/", json={"filters": ANN, "show_expired": True}).json()
    assert {one["lifecycle_state"] for one in past["results"]} == {"active", "expired"}
