"""The external index over HTTP: its state, comparing, mending, building anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import registry
from holdfast.engine import reindexing
from support.served import Served, served


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setitem(registry.VECTORS, "file", "support.file_vectors")
    monkeypatch.setattr(reindexing, "AGAIN_S", 0.0)
    monkeypatch.setattr(reindexing, "SWITCH_S", 0.0)
    config = {"file": str(tmp_path / "engine.db"), "exact_rows": 0}
    engine = {"provider": "file", "config": config}
    with served(tmp_path / "store", {"index": engine}) as running:
        yield running


def until(client: httpx.Client, wanted: str) -> Any:
    """The state of the index once its work is in some state."""
    for _ in range(400):
        status = client.get("/holdfast/index").json()
        if status["work"]["state"] == wanted:
            return status
        time.sleep(0.02)
    raise AssertionError(status)


def fill(client: httpx.Client) -> None:
    for text in ("I keep bees", "I drink green tea"):
        body = {"messages": [{"role": "user", "content": text}], "user_id": "ann", "infer": False}
        assert client.post("/memories", json=body).status_code == 200
    for _ in range(400):
        status = client.get("/holdfast/index").json()
        if status["points"] == 2 and not status["projects_behind"]:
            return
        time.sleep(0.02)
    raise AssertionError("the index is not fed")


def test_verify_and_rebuild(client: httpx.Client) -> None:
    fill(client)
    status = client.get("/holdfast/index").json()
    assert status["name"] == "file:holdfast"
    assert (status["build"], status["building"], status["work"]) == (0, None, None)
    assert client.post("/holdfast/index/verify", json={"repair": True}).status_code == 202
    work = until(client, "SUCCEEDED")["work"]
    assert work["kind"] == "repair"
    assert work["result"] == {"memories": 2, "points": 2, "missing": 0, "stale": 0, "extra": 0}
    assert client.post("/holdfast/index/rebuild").status_code == 202
    status = until(client, "SUCCEEDED")
    assert (status["build"], status["points"], status["name"]) == (1, 2, "file:holdfast_1")
    body = {"query": "bees", "user_id": "ann"}
    found = client.post("/search", json=body).json()
    assert found["results"][0]["memory"] == "I keep bees"
    assert client.delete("/holdfast/index/rebuild").json()["message"] == "There is none."
    assert client.post("/holdfast/index/verify", json={"mend": True}).status_code == 400


def test_rebalancing_empties_a_shard_that_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.VECTORS, "file", "support.file_vectors")

    def sharded(*names: str, drain: str = "") -> dict[str, object]:
        shards = [
            {
                "name": name,
                "provider": "file",
                "config": {"file": str(tmp_path / f"{name}.db")},
                "drain": name == drain,
            }
            for name in names
        ]
        times = {"map_age_s": 0.05, "timeout_s": 0.5}  # a phase lasts longer than both
        return {"provider": "sharded", "config": {"shards": shards, "exact_rows": 0, **times}}

    def spoken_to(running: Served) -> httpx.Client:
        return httpx.Client(base_url=running.url, headers=running.headers, timeout=60)

    store = tmp_path / "store"
    with served(store, {"index": sharded("a")}) as one, spoken_to(one) as client:
        fill(client)
    with served(store, {"index": sharded("a", "b", drain="a")}) as two, spoken_to(two) as client:
        assert client.post("/holdfast/index/rebalance").status_code == 202
        work = until(client, "SUCCEEDED")["work"]
        assert work["kind"] == "rebalance"
        assert work["result"] == {"memories": 3, "moved": 3}  # and the mark of whose index it is
        found = client.post("/search", json={"query": "bees", "user_id": "ann"}).json()
        assert found["results"][0]["memory"] == "I keep bees"


def test_only_a_sharded_index_is_rebalanced(client: httpx.Client) -> None:
    assert client.post("/holdfast/index/rebalance").status_code == 202
    assert until(client, "FAILED")["work"]["error"] == "UNSUPPORTED"


def test_only_whoever_runs_it_may(client: httpx.Client, server: Served) -> None:
    body = {"label": "x", "permissions": ["read", "write"]}
    secret = client.post("/holdfast/keys", json=body).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=server.url, headers=headers) as other:
        assert other.get("/holdfast/index").status_code == 403
        assert other.post("/holdfast/index/rebuild").status_code == 403


def test_health_and_metrics_tell_of_an_index_that_is_away(
    client: httpx.Client, tmp_path: Path
) -> None:
    fill(client)
    body = {"query": "bees", "user_id": "ann"}
    client.post("/search", json=body)
    assert client.get("/health").json()["parts"]["index"]["status"] == "ok"
    (tmp_path / "engine.away").touch()
    other = {"query": "green tea", "user_id": "ann"}  # an answer may be remembered
    answer = client.post("/search", json=other)
    assert answer.status_code == 200
    assert answer.json()["results"]
    health = client.get("/health").json()
    assert health["status"] == "degraded"
    assert health["parts"]["index"] == {
        **health["parts"]["index"],
        "status": "down",
        "error": "INDEX_UNAVAILABLE",
    }
    status = client.get("/holdfast/index").json()
    assert (status["reachable"], status["error"]) == (False, "INDEX_UNAVAILABLE")
    told = client.get("/metrics").text
    assert 'holdfast_index_answers_total{outcome="away"} 1.0' in told
    assert 'holdfast_degraded_answers_total{part="index"} 1.0' in told
    assert "holdfast_index_lag_generations" in told
