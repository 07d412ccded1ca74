"""Mem0's open-source server: its memory routes, status codes and bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.served import Served

NUTS = {"messages": [{"role": "user", "content": "I am allergic to nuts."}], "user_id": "ann"}


@pytest.fixture
def writer(server: Served) -> Iterator[httpx.Client]:
    """Talks to the server with a key that reads and writes, and is no administrator's."""
    key = server.run(server.deployment.admin.create_key(permissions=("read", "write"))).secret
    with httpx.Client(base_url=server.url, headers={"X-API-Key": key}) as talking:
        yield talking


def added(client: httpx.Client, text: str = "I like tea", **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": text}], "user_id": "ann", **more}
    answer = client.post("/memories", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["results"][0]["id"])


def test_the_root_leads_to_the_documentation(server: Served) -> None:
    answer = httpx.get(server.url)
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert httpx.get(f"{server.url}/docs").status_code == 200


def test_nothing_without_a_key(server: Served) -> None:
    answer = httpx.get(f"{server.url}/memories", params={"user_id": "ann"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_memory_from_its_making_to_its_end(writer: httpx.Client) -> None:
    made = writer.post("/memories", json=NUTS).json()["results"][0]
    assert (made["event"], made["memory"]) == ("ADD", "I am allergic to nuts.")
    place = f"/memories/{made['id']}"
    assert writer.get(place).json()["memory"] == "I am allergic to nuts."
    changed = writer.put(place, json={"text": "I love nuts.", "metadata": {"sure": True}})
    assert changed.json() == {"message": "Memory updated successfully!"}
    assert [one["event"] for one in writer.get(f"{place}/history").json()] == ["ADD", "UPDATE"]
    assert writer.delete(place).json() == {"message": "Memory deleted successfully"}
    assert (writer.get(place).status_code, writer.get(place).text) == (200, "null")
    assert writer.delete(place).status_code == 404
    assert writer.put(place, json={"text": "x"}).status_code == 404


def test_old_builds_call_the_text_data(writer: httpx.Client) -> None:
    place = f"/memories/{added(writer)}"
    writer.put(place, json={"data": "I like coffee"})
    assert writer.get(place).json()["memory"] == "I like coffee"


def test_null_clears_an_expiration_and_absence_does_not(writer: httpx.Client) -> None:
    place = f"/memories/{added(writer, expiration_date='2099-01-01')}"
    writer.put(place, json={"metadata": {"a": 1}})
    assert writer.get(place).json()["expiration_date"] == "2099-01-01"
    writer.put(place, json={"expiration_date": None})
    assert "expiration_date" not in writer.get(place).json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/memories", {**NUTS, "user_id": None}),
        ("POST", "/memories", {**NUTS, "user_id": ""}),
        ("DELETE", "/memories", None),
        ("POST", "/search", {"query": "nuts"}),
        ("POST", "/search", {"query": "nuts", "filters": {"NOT": {"user_id": "ann"}}}),
        ("POST", "/search", {"query": "nuts", "filters": {"user_id": {"nonsense": 1}}}),
        ("PUT", "/memories/x", {}),
    ],
)
def test_what_names_nobody_or_nothing_is_refused(
    client: httpx.Client, method: str, path: str, body: Any
) -> None:
    keep = added(client)
    answer = client.request(method, path, json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"]
    assert client.get(f"/memories/{keep}").json()["memory"] == "I like tea"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/memories", {"user_id": "ann"}),
        ("POST", "/search", {"filters": {"user_id": "ann"}}),
        ("POST", "/search", {"query": "x", "user_id": "ann", "top_k": 0}),
        ("GET", "/memories?user_id=ann&top_k=1001", None),
        ("DELETE", "/entities/planet/earth", None),
    ],
)
def test_forms_are_refused_as_fastapi_does(
    client: httpx.Client, method: str, path: str, body: Any
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == 422
    assert {"loc", "msg", "type"} <= answer.json()["detail"][0].keys()


def test_listing_counts_from_none_to_a_thousand(writer: httpx.Client) -> None:
    for number in range(3):
        added(writer, f"Note number {number}")
    for wanted in (0, 1, 3, 1000):
        answer = writer.get("/memories", params={"user_id": "ann", "top_k": wanted}).json()
        assert len(answer["results"]) == min(wanted, 3)
        assert answer.keys() == {"results"}


def test_only_an_administrator_lists_everybody(client: httpx.Client, writer: httpx.Client) -> None:
    added(writer)
    added(writer, "The sky is blue", user_id=None, run_id="r", agent_id="x")
    rows = client.get("/memories").json()["results"]
    assert {row["memory"] for row in rows} == {"I like tea", "The sky is blue"}
    assert {"id", "memory", "user_id", "agent_id", "run_id", "hash", "metadata"} <= rows[0].keys()
    assert writer.get("/memories").status_code == 403


def test_only_an_administrator_deletes_many(client: httpx.Client, writer: httpx.Client) -> None:
    keep, gone = added(writer, user_id="bob"), added(writer)
    for method, path in [
        ("DELETE", "/memories?user_id=ann"),
        ("DELETE", "/entities/user/ann"),
        ("POST", "/reset"),
    ]:
        assert writer.request(method, path).status_code == 403
    answer = client.delete("/memories", params={"user_id": "ann"})
    assert answer.json() == {"message": "All relevant memories deleted"}
    assert client.get(f"/memories/{gone}").json() is None
    assert client.get(f"/memories/{keep}").json()["user_id"] == "bob"
    assert client.post("/reset").json() == {"message": "All memories reset"}
    assert client.get("/memories").json() == {"results": []}


def test_ids_and_filters_of_a_search_are_joined_and_never_widen(writer: httpx.Client) -> None:
    added(writer, metadata={"topic": "drink"})
    added(writer, "I like rain", metadata={"topic": "weather"})
    added(writer, "Tea is what I like", user_id="bob", metadata={"topic": "drink"})

    def found(**body: Any) -> set[str]:
        answer = writer.post("/search", json={"query": "like", "threshold": 0, **body})
        assert answer.status_code == 200, answer.text
        return {one["memory"] for one in answer.json()["results"]}

    assert found(user_id="ann") == {"I like tea", "I like rain"}
    assert found(user_id="ann", filters={"topic": "drink"}) == {"I like tea"}
    assert found(user_id="ann", filters={"user_id": "bob"}) == set()
    assert found(user_id="ann", filters={"OR": [{"user_id": "bob"}]}) == set()
    assert len(found(user_id="ann", limit=1)) == 1
    assert len(found(user_id="ann", top_k=1)) == 1


def test_a_search_explains_itself(writer: httpx.Client) -> None:
    added(writer)
    body = {"query": "tea", "user_id": "ann", "explain": True}
    assert writer.post("/search", json=body).json()["results"][0]["score_details"]


def test_entities_are_listed_and_deleted_whatever_they_are_called(client: httpx.Client) -> None:
    for name in ("a/b c?", "müller", "zoe"):
        added(client, user_id=name)
    added(client, "Remember the run", user_id=None, run_id="r1")
    listed = client.get("/entities").json()
    assert [(one["type"], one["id"]) for one in listed] == [
        ("run", "r1"),
        ("user", "a/b c?"),
        ("user", "müller"),
        ("user", "zoe"),
    ]
    assert all(one["total_memories"] == 1 and one["created_at"] for one in listed)
    answer = client.delete("/entities/user/a%2Fb%20c%3F")
    assert answer.json() == {"message": "Entity deleted"}
    assert len(client.get("/entities").json()) == 3


def test_a_fenced_key_meets_nobody_else(client: httpx.Client, server: Served) -> None:
    other = added(client, user_id="bob")
    made = server.run(server.deployment.admin.create_key(permissions=("admin",), users=["ann"]))
    with httpx.Client(base_url=server.url, headers={"X-API-Key": made.secret}) as fenced:
        assert fenced.get(f"/memories/{other}").json() is None
        assert fenced.get("/memories").status_code == 403
        assert fenced.get("/entities").json() == []
        assert fenced.delete(f"/memories/{other}").status_code == 404
        assert fenced.delete("/memories", params={"user_id": "bob"}).status_code in (200, 403)
    assert client.get(f"/memories/{other}").json()["memory"] == "I like tea"


def test_the_header_makes_a_repeated_add_the_first_one_again(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.post("/memories", json=NUTS, headers=key).json()
    assert client.post("/memories", json=NUTS, headers=key).json() == first
    other = {**NUTS, "messages": [{"role": "user", "content": "I like tea"}]}
    assert client.post("/memories", json=other, headers=key).status_code == 409
    listed = client.get("/memories", params={"user_id": "ann"}).json()["results"]
    assert len(listed) == 1
