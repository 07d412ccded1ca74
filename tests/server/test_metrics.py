"""`/metrics`: read by Prometheus' own parser, true, bounded in its labels, and told in the docs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.metrics import COUNTERS, GAUGES
from holdfast.model import Census
from holdfast.server import census
from support.llm_server import LLMServer, failure
from support.served import PLAIN, Served, served

DOCS = Path(__file__).parents[2] / "docs" / "server.md"
SEARCH = {"query": "bees", "filters": {"user_id": "ann"}}
BEES = "I keep three hives of bees in Kent."
FACTS = json.dumps(
    {
        "facts": [
            {"turn": 1, "quote": "three hives of bees", "text": "Keeps three hives of bees",
             "when": "", "entities": [], "categories": [], "replaces": []},
            {"turn": 1, "quote": "never said", "text": "Invented",
             "when": "", "entities": [], "categories": [], "replaces": []},
        ]
    }
)  # fmt: skip

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(client: httpx.Client) -> Samples:
    """Every sample by its name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    samples: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} is told twice"
            samples[key] = sample.value
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    """One sample; 0 if it is not there."""
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def with_model(llm: LLMServer) -> dict[str, Any]:
    config = {"model": "gpt-4o-mini", "openai_base_url": llm.url, "api_key": "k"}
    part = {"provider": "openai", "config": config}
    reranker = {"provider": "llm_reranker", "config": {"llm": part}}
    return {"llm": part, "reranker": reranker, "model_attempts_max": 1, "job_attempts_max": 1}


def test_requests_are_counted_by_operation_and_class_of_status(client: httpx.Client) -> None:
    for _ in range(3):
        client.post("/v3/memories/search/", json=SEARCH).raise_for_status()
    client.post("/v3/memories/search/", json={"query": "x", "filters": {"a": {"no": 1}}})
    client.get("/v1/ping/", headers={"Authorization": "Token no"})
    samples = read(client)
    total = "holdfast_operations_total"
    assert value(samples, total, operation="search", status="2xx") == 3
    assert value(samples, total, operation="search", status="4xx") == 1
    assert value(samples, total, operation="whoami", status="4xx") == 1
    assert value(samples, "holdfast_operation_duration_seconds_count", operation="search") == 4
    assert 0 < value(samples, "holdfast_operation_duration_seconds_sum", operation="search") < 10
    assert value(samples, "holdfast_requests_running") == 1, "this one"


def test_labels_do_not_grow_with_what_callers_send(client: httpx.Client) -> None:
    client.get("/nothing/0")
    client.get("/health/live")
    before = read(client).keys()
    for number in range(50):
        client.get(f"/nothing/{number}", headers={"X-Request-ID": f"r{number}"})
        client.request(f"VERB{number}", "/v1/ping/")
        client.post("/v3/memories/search/", json={**SEARCH, "filters": {"user_id": f"u{number}"}})
    samples = read(client)
    assert value(samples, "holdfast_operations_total", operation="unknown", status="4xx") > 50
    fresh = {key for key in samples.keys() - before if "operation" in dict(key[1])}
    assert {dict(labels)["operation"] for _, labels in fresh} <= {"search", "metrics", "unknown"}


def test_what_the_store_holds_is_counted(client: httpx.Client, server: Served) -> None:
    memory = server.deployment.admin.memory()
    server.run(memory.add(BEES, user_id="ann"))
    server.run(memory.add(BEES, user_id="bob"))
    samples = read(client)
    assert value(samples, "holdfast_memory_count") == 2
    assert value(samples, "holdfast_vector_count") == 2
    assert value(samples, "holdfast_user_count") == 2
    assert value(samples, "holdfast_queue_waiting") == 0
    client.post("/v3/memories/search/", json=SEARCH)
    client.post("/v3/memories/search/", json=SEARCH)
    client.post("/v3/memories/search/", json={**SEARCH, "query": "hives"})
    samples = read(client)
    answers = {"kind": "answer"}
    assert value(samples, "holdfast_cache_lookups_total", **answers, outcome="hit") == 1
    assert value(samples, "holdfast_cache_lookups_total", **answers, outcome="miss") == 2
    assert value(samples, "holdfast_cache_bytes") > 0
    assert value(samples, "holdfast_working_set_lookups_total", outcome="load") >= 1
    assert value(samples, "holdfast_working_set_lookups_total", outcome="hit") >= 1
    assert value(samples, "holdfast_working_sets") == 1
    assert value(samples, "holdfast_working_set_bytes") > 0


def test_models_jobs_and_facts_are_counted(tmp_path: Path, llm: LLMServer) -> None:
    llm.say(FACTS, failure(400, "no"))
    with (
        served(tmp_path / "store", with_model(llm)) as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
    ):
        memory = server.deployment.admin.memory()
        assert server.run(memory.add(BEES, user_id="ann"))["status"] == "SUCCEEDED"
        assert server.run(memory.add("I like tea.", user_id="ann"))["status"] == "FAILED"
        answer = client.post("/v3/memories/search/", json=SEARCH | {"rerank": True})
        assert answer.json()["degraded"] == ["reranker"]
        samples = read(client)
    job = "holdfast_jobs_total"
    assert value(samples, job, kind="extract", outcome="succeeded") == 1
    assert value(samples, job, kind="extract", outcome="dead") == 1
    assert value(samples, "holdfast_queue_failed") == 1
    assert value(samples, "holdfast_facts_total", outcome="added") == 1
    assert value(samples, "holdfast_facts_total", outcome="rejected") == 1
    assert value(samples, "holdfast_model_calls_total", part="llm", outcome="ok") == 1
    assert value(samples, "holdfast_model_calls_total", part="llm", outcome="failed") == 1
    assert value(samples, "holdfast_degraded_answers_total", part="reranker") == 1
    model = "openai:gpt-4o-mini"
    tokens = "holdfast_model_tokens_total"
    assert value(samples, tokens, model=model, kind="input") == 100
    assert value(samples, tokens, model=model, kind="cached") == 80
    assert value(samples, tokens, model=model, kind="output") == 20
    # 20 fresh at 0.15, 80 cached at 0.075, 20 made at 0.60 dollars a million
    cost = value(samples, "holdfast_model_cost_usd_total", model=model, operation="add")
    assert cost == pytest.approx((20 * 0.15 + 80 * 0.075 + 20 * 0.60) / 1e6)


def test_refusals_are_counted(tmp_path: Path) -> None:
    with (
        served(tmp_path / "store", key_limit_search="2/minute") as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
    ):
        statuses = [client.post("/v3/memories/search/", json=SEARCH).status_code for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        assert value(read(client), "holdfast_rate_limited_total", operation="search") == 2


def test_metrics_are_for_the_administrator(server: Served, client: httpx.Client) -> None:
    assert httpx.get(f"{server.url}/metrics", verify=PLAIN).status_code == 401
    other = server.run(server.deployment.admin.create_project("other"))
    for rights in (("read", "write"), ("admin",)):
        key = server.run(
            server.deployment.admin.create_key(project=other.id, permissions=rights)
        ).secret
        answer = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Token {key}"})
        assert answer.status_code == 403, rights
        assert "holdfast_" not in answer.text


def test_they_are_open_if_it_is_set_and_mem0s_names_are_told(tmp_path: Path) -> None:
    with (
        served(tmp_path / "store", metrics_open=True, metrics_mem0_names=True) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        client.get("/v1/ping/")
        samples = read(client)
        for name in ("vector_count", "user_count", "operations_total"):
            ours = {labels for own, labels in samples if own == f"holdfast_{name}"}
            theirs = {labels for own, labels in samples if own == f"mem0_{name}"}
            assert ours == theirs != set()
        assert any(name == "mem0_operation_duration_seconds_bucket" for name, _ in samples)


def test_every_metric_is_in_the_docs_and_no_other(client: httpx.Client) -> None:
    told = set(re.findall(r"^\| `(holdfast_\w+)`", DOCS.read_text("utf-8"), re.MULTILINE))
    answer = client.get("/metrics").text
    kinds = re.findall(r"^# TYPE (\S+) (\w+)$", answer, re.MULTILINE)
    known = {name for name, _ in kinds if not name.endswith("_created")}
    assert told == known, told ^ known
    assert len(known) > len(COUNTERS) + len(GAUGES) + len(census.GAUGES)


async def test_a_store_that_is_long_to_count_is_counted_seldom() -> None:
    now, made = 0.0, 0

    class Slow:
        async def census(self) -> Census:
            nonlocal now, made
            now, made = now + 10.0, made + 1
            return Census(**dict.fromkeys(Census.__struct_fields__, made))

    counted = census.Counted(cast("Any", Slow()))
    with patch.object(census.time, "monotonic", lambda: now):
        assert (await counted.census()).memories == 1
        for later in (45.0, 10.0 + 49 * 10.0):
            now = later
            assert (await counted.census()).memories == 1
        now = 10.0 + 51 * 10.0
        assert (await counted.census()).memories == 2
        assert (await counted.census(0.0)).memories == 2
