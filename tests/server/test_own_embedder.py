"""Changing the embedder over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from holdfast import Memory
from holdfast.config import Part
from support.embedded import HashEmbedder
from support.served import Served, served


def made(part: Part) -> HashEmbedder:
    return HashEmbedder(part.provider, 16 if part.provider == "old" else 24)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with patch("holdfast.assemble.make_embedder", made):
        with Memory({"path": str(tmp_path / "store"), "embedder": {"provider": "old"}}) as memory:
            for text in ("I keep bees", "I drink green tea"):
                memory.add(text, user_id="ann", infer=False)
        both = {"embedder": {"provider": "new"}, "embedder_before": {"provider": "old"}}
        with served(tmp_path / "store", both) as running:
            yield running


def until(client: httpx.Client, wanted: str) -> Any:
    """How the change stands once its work is in some state."""
    for _ in range(400):
        status = client.get("/holdfast/embedder").json()
        if status["work"]["state"] == wanted:
            return status
        time.sleep(0.02)
    raise AssertionError(status)


def test_from_change_to_finish(client: httpx.Client) -> None:
    assert client.post("/holdfast/embedder/cutover").status_code == 409
    wrong = client.post("/holdfast/embedder/change", json={"budget_usd": 0})
    assert wrong.status_code == 400
    assert client.post("/holdfast/embedder/change", json={}).status_code == 202
    status = until(client, "SUCCEEDED")
    assert status["work"]["result"]["texts"] == 2
    assert [each["missing"] for each in status["spaces"]] == [0, 0]
    switched = client.post("/holdfast/embedder/cutover").json()
    assert (switched["embedder"], switched["before"]) == ("tests:new", "tests:old")
    assert client.post("/holdfast/embedder/rollback").json()["embedder"] == "tests:old"
    assert client.post("/holdfast/embedder/finish").json() == {"deleted": 2}
    body = {"query": "bees", "user_id": "ann"}
    found = client.post("/search", json=body).json()["results"]
    assert found[0]["memory"] == "I keep bees"
    again = client.post("/holdfast/embedder/change", json={"texts_per_second": 100})
    assert again.status_code == 202
    assert until(client, "SUCCEEDED")["work"]["result"]["texts"] == 2
