"""Subjects over HTTP: counted, exported, erased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.served import Served, served


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "store") as running:
        yield running


def test_a_subject_is_counted_exported_and_erased(client: httpx.Client) -> None:
    for user in ("ann", "bob"):
        message = {"role": "user", "content": f"<b>I am {user}</b>"}
        body = {"messages": [message], "user_id": user, "infer": False}
        assert client.post("/memories", json=body).status_code == 200
    ann = {"user_id": "ann"}
    found = client.post("/holdfast/subjects/inventory", json=ann).json()["found"]
    assert found["memories"] == 1
    told = client.post("/holdfast/subjects/export", json=ann)
    assert told.headers["cache-control"] == "no-store"
    assert told.json()["memories"][0]["memory"] == "<b>I am ann</b>"
    page = client.post("/holdfast/subjects/export", json={**ann, "form": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "attachment" in page.headers["content-disposition"]
    assert "&lt;b&gt;I am ann" in page.text
    assert "<b>" not in page.text

    ended = client.post("/holdfast/erasures", json=ann).json()
    assert (ended["state"], ended["found"], ended["remains"]) == ("DONE", found, {})
    assert ended["receipt"]["signature"]["value"]
    assert "ann" not in str(ended["receipt"])
    assert client.get("/holdfast/erasures").json()["results"] == [ended]
    assert client.get(f"/holdfast/erasures/{ended['id']}").json() == ended
    assert client.get("/holdfast/erasures/nothing").status_code == 404
    left = client.post("/holdfast/subjects/inventory", json=ann).json()["found"]
    assert not any(left.values())
    assert client.post("/holdfast/subjects/inventory", json={"user_id": "bob"}).json()["found"][
        "memories"
    ]


@pytest.mark.parametrize("path", ["inventory", "export"])
def test_exactly_one_subject_is_named(client: httpx.Client, path: str) -> None:
    for body in ({}, {"user_id": "a", "agent_id": "b"}, {"user_id": "*"}):
        for place in (f"/holdfast/subjects/{path}", "/holdfast/erasures"):
            answer = client.post(place, json=body)
            assert answer.status_code in (400, 422), answer.text
