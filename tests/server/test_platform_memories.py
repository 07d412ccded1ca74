"""The platform's routes for adding, and for memories by id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.platform_client import added, talking, texts
from support.served import Served

UNKNOWN = "0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"
NOT_A_UUID = "memory_id should be a valid UUID"


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with talking(server) as client:
        yield client


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text, **more}]}


def test_ping_is_what_every_client_asks_first(client: httpx.Client, server: Served) -> None:
    told = client.get("/v1/ping/").json()
    assert told["status"] == "ok"
    assert (told["org_id"], told["project_id"]) == ("holdfast", "default")
    assert client.get("/v1/ping", params={"project_id": "default"}).status_code == 200
    assert client.get("/v1/ping/", params={"project_id": "another"}).status_code == 404
    refused = httpx.get(f"{server.url}/v1/ping/", headers={"Authorization": "Token wrong"})
    assert refused.status_code == 401
    assert refused.json()["detail"]


def test_an_add_answers_with_an_event(client: httpx.Client) -> None:
    told = client.post("/v3/memories/add/", json={**said("I like tea"), "user_id": "ann"}).json()
    event = client.get(f"/v1/event/{told['event_id']}/").json()
    assert event["status"] == told["status"] == "SUCCEEDED"  # no model is asked: it is done
    assert [one["data"]["memory"] for one in event["results"]] == ["I like tea"]
    assert event["payload"] == {"user_id": "ann"}
    assert event["latency"] is not None


def test_ids_stand_at_the_top_or_in_filters(client: httpx.Client) -> None:
    ways: tuple[dict[str, Any], ...] = (
        {"user_id": "ann"},
        {"filters": {"user_id": "ann"}},
        {"filters": {"AND": [{"user_id": "ann"}]}, "user_id": "ann"},
        {"filters": {"user_id": "ann"}, "agent_id": "bot"},
    )
    for count, whose in enumerate(ways, 1):
        answer = client.post("/v3/memories/add/", json={**said("I like tea"), **whose})
        assert answer.status_code == 200
        assert len(texts(client.get("/v1/memories/", params={"user_id": "ann"}))) == count


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "At least one of"),
    ({"filters": {"NOT": [{"user_id": "ann"}]}}, "too wide"),
    ({"user_id": "ann", "filters": {"user_id": "bob"}}, "user_id"),
    ({"user_id": "ann", "infer": "perhaps"}, "infer"),
    ({"user_id": "ann", "timezone": "Atlantis"}, "timezone"),
    ({"user_id": "ann", "expiration_date": "soon"}, "expiration_date"),
    ({"user_id": True}, "user_id"),
    ({"agent_id": "bot", "memory_type": "procedural_memory"}, "language model"),
)


def test_an_add_that_is_wrong_changes_nothing(client: httpx.Client) -> None:
    for body, told in WRONG:
        answer = client.post("/v3/memories/add/", json={**said("I like tea"), **body})
        assert answer.status_code == 400, body
        assert told in answer.json()["detail"]
        assert answer.json()["detail"] == answer.json()["error"]
    assert client.get("/v1/events/").json()["count"] == 0


def test_images_are_refused_with_a_reason(client: httpx.Client) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    for content in (picture, [picture]):
        body = {"messages": [{"role": "user", "content": content}], "user_id": "ann"}
        answer = client.post("/v3/memories/add/", json=body)
        assert answer.status_code == 400
        assert "not text" in answer.json()["detail"]
    parts = [{"type": "text", "text": "I like tea"}]
    body = {"messages": [{"role": "user", "content": parts}], "user_id": "ann"}
    assert client.post("/v3/memories/add/", json=body).status_code == 200


def test_what_an_add_says_of_its_memories_is_kept(client: httpx.Client) -> None:
    body = {
        **said("We met", name="Ann"),
        "user_id": "ann",
        "run_id": "r1",
        "metadata": {"source": "chat", "user_id": "somebody else"},
        "expiration_date": "2099-12-31",
        "timestamp": "2026-03-01T12:30:00",
        "timezone": "Asia/Tokyo",
        "infer": False,
    }
    [item] = client.post("/v3/memories/add/", json=body).json()["results"]
    memory = client.get(f"/v1/memories/{item['id']}/").json()
    assert memory["user_id"] == "ann"
    assert memory["session_id"] == memory["run_id"] == "r1"
    assert memory["actor_id"] == "Ann"
    assert memory["metadata"] == {"source": "chat"}
    assert memory["expiration_date"] == "2099-12-31"
    assert memory["event_at"] == "2026-03-01T03:30:00+00:00"
    assert memory["structured_attributes"]["day_of_week"] == "sunday"
    assert memory["structured_attributes"]["hour"] == 3
    assert (memory["lifecycle_state"], memory["replaced_by"]) == ("active", None)


def test_a_repeated_key_is_the_first_add_again(client: httpx.Client) -> None:
    body = {**said("I like tea"), "user_id": "ann"}
    key = {"Idempotency-Key": "k1"}
    first = client.post("/v3/memories/add/", json=body, headers=key).json()
    again = client.post("/v3/memories/add/", json=body, headers=key).json()
    assert again["event_id"] == first["event_id"]
    other = client.post(
        "/v3/memories/add/", json={**said("I like coffee"), "user_id": "ann"}, headers=key
    )
    assert other.status_code == 409
    assert texts(client.get("/v1/memories/", params={"user_id": "ann"})) == ["I like tea"]


def test_the_first_generations_add(client: httpx.Client) -> None:
    body = {**said("I like tea"), "user_id": "ann", "org_id": "any", "project_id": "default"}
    bare = client.post("/v1/memories/", json=body).json()
    assert [(one["memory"], one["event"]) for one in bare] == [("I like tea", "ADD")]
    assert bare[0]["event_id"]
    wrapped = client.post("/v1/memories/", json={**body, "output_format": "v1.1"}).json()
    assert list(wrapped) == ["results"]
    elsewhere = client.post("/v1/memories/", json={**body, "project_id": "another"})
    assert elsewhere.status_code == 404


def test_a_memory_by_its_id(client: httpx.Client) -> None:
    id_ = added(client, "I like tea")
    assert client.get(f"/v1/memories/{id_}/").json()["memory"] == "I like tea"
    assert client.get(f"/v1/memories/{id_.upper()}").json()["id"] == id_
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {"text": "x"}} if method == "PUT" else {}
        bad = client.request(method, "/v1/memories/12/", **body)
        assert (bad.status_code, bad.json()["error"]) == (400, NOT_A_UUID)
        unknown = client.request(method, f"/v1/memories/{UNKNOWN}/", **body)
        assert (unknown.status_code, unknown.json()["error"]) == (404, "Memory not found!")
        assert unknown.json()["detail"] == "Memory not found!"
    assert client.get(f"/v1/memories/{UNKNOWN}/history/").status_code == 404
    assert client.get("/v1/memories/12/history/").json()["error"] == NOT_A_UUID


def test_an_update_sets_what_is_given_and_null_clears_the_date(client: httpx.Client) -> None:
    id_ = added(client, "I like tea", metadata={"a": 1}, expiration_date="2099-01-01")
    path = f"/v1/memories/{id_}/"
    changed = client.put(path, json={"text": "I like coffee", "metadata": {"b": 2}}).json()
    assert (changed["id"], changed["memory"]) == (id_, "I like coffee")
    assert changed["metadata"] == {"a": 1, "b": 2}
    assert changed["expiration_date"] == "2099-01-01"
    cleared = client.put(path, json={"expiration_date": None}).json()
    assert (cleared["memory"], cleared["expiration_date"]) == ("I like coffee", None)
    moved = client.put(path, json={"timestamp": 1_772_356_200}).json()
    assert moved["event_at"] == "2026-03-01T09:10:00+00:00"
    assert client.put(path, json={}).status_code == 400
    assert client.put(path, json={"text": "x", "project_id": "another"}).status_code == 404


def test_history_tells_every_change(client: httpx.Client) -> None:
    id_ = added(client, "I like tea", run_id="r1")
    client.put(f"/v1/memories/{id_}/", json={"text": "I like coffee"})
    there = client.get(f"/v1/memories/{id_}/history/").json()
    said_ = [{"role": "user", "content": "I like tea"}]
    assert [change["input"] for change in there] == [said_, []]
    done = client.delete(f"/v1/memories/{id_}/", params={"delete_linked": "true"}).json()
    assert done == {"message": "Memory deleted successfully!", "cascade_count": 0}
    changes = client.get(f"/v1/memories/{id_}/history/").json()
    assert [change["event"] for change in changes] == ["ADD", "UPDATE", "DELETE"]
    assert [change["old_memory"] for change in changes] == [None, "I like tea", "I like coffee"]
    assert {(change["user_id"], change["session_id"]) for change in changes} == {("ann", "r1")}


def test_a_batch_is_carried_out_whole_or_not_at_all(client: httpx.Client) -> None:
    one, two = added(client, "I like tea"), added(client, "I like coffee")
    good = {"memory_id": one, "text": "I like cocoa", "metadata": {"a": 1}}
    for bad in ({"memory_id": UNKNOWN, "text": "x"}, {"memory_id": two}):
        answer = client.put("/v1/batch/", json={"memories": [good, bad]})
        assert answer.status_code in (400, 404)
    assert client.get(f"/v1/memories/{one}/").json()["memory"] == "I like tea"
    answer = client.put("/v1/batch/", json={"memories": [good, {"memory_id": two, "text": "Tea"}]})
    assert answer.json() == {"message": "Successfully updated 2 memories"}
    assert sorted(texts(client.get("/v1/memories/?user_id=ann"))) == ["I like cocoa", "Tea"]

    def delete(*ids: str) -> httpx.Response:
        body = {"memories": [{"memory_id": id_} for id_ in ids]}
        return client.request("DELETE", "/v1/batch/", json=body)

    assert delete(one, UNKNOWN).status_code == 404
    assert delete(one, "12").json()["error"] == NOT_A_UUID
    assert delete(one, one).status_code == 400
    assert delete().status_code == 400
    assert delete(*[UNKNOWN] * 1_001).status_code == 400
    assert delete(one, two).json() == {"message": "Successfully deleted 2 memories"}
    assert texts(client.get("/v1/memories/?user_id=ann")) == []


def test_another_method_is_told_which_there_are(client: httpx.Client) -> None:
    answer = client.patch("/v1/memories/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, POST")


UNOFFERED: list[tuple[str, Any, Any]] = [
    ("structured_data_schema", {"a": "str"}, None),
    ("enable_graph", True, False),
    ("prompt_profile_id", "p", None),
]


def test_what_an_add_could_not_keep_is_refused(client: httpx.Client) -> None:
    body = {**said("I like tea"), "user_id": "ann"}
    for name, refused, _ in UNOFFERED:
        answer = client.post("/v3/memories/add/", json={**body, name: refused})
        assert (answer.status_code, name in answer.json()["detail"]) == (400, True), name
        assert client.post("/v1/memories/", json={**body, name: refused}).status_code == 400
        assert texts(client.get("/v1/memories/", params={"user_id": "ann"})) == []
    plain = {name: harmless for name, _, harmless in UNOFFERED}
    answer = client.post("/v3/memories/add/", json={**body, **plain, "source": "CLI"})
    assert answer.status_code == 200


def test_an_immutable_memory_is_refused_every_update(client: httpx.Client) -> None:
    body = {**said("I like tea"), "user_id": "ann", "infer": False, "immutable": True}
    [added] = client.post("/v3/memories/add/", json=body).json()["results"]
    place = f"/v1/memories/{added['id']}/"
    assert client.get(place).json()["immutable"] is True
    answer = client.put(place, json={"text": "I like rum"})
    assert (answer.status_code, "immutable" in answer.json()["detail"]) == (409, True)
    batch = {"memories": [{"memory_id": added["id"], "text": "I like rum"}]}
    assert client.put("/v1/batch/", json=batch).status_code == 409
    assert client.get(place).json()["memory"] == "I like tea"
    assert client.delete(place).status_code == 200
    plain = {**body, "immutable": False}
    [added] = client.post("/v3/memories/add/", json=plain).json()["results"]
    assert client.get(f"/v1/memories/{added['id']}/").json()["immutable"] is False


def test_an_add_names_categories(client: httpx.Client) -> None:
    body = {**said("I like tea"), "user_id": "ann", "categories": ["drinks"], "infer": False}
    assert client.post("/v3/memories/add/", json=body).status_code == 200
    [memory] = client.get("/v1/memories/", params={"user_id": "ann"}).json()
    assert memory["categories"] == ["drinks"]


def test_times_in_a_question_count_unless_told_otherwise(client: httpx.Client) -> None:
    for text, at in (("We went sailing", "2023-05-10"), ("We went climbing", "2024-08-01")):
        body = {**said(text), "user_id": "ann", "timestamp": at, "temporal_reasoning": False}
        assert client.post("/v3/memories/add/", json=body).status_code == 200
    asked = {"query": "What sport in May 2023?", "filters": {"user_id": "ann"}, "threshold": 0.0}
    for path in ("/v3/memories/search/", "/v2/memories/search/", "/v1/memories/search/"):
        body = {**asked, "output_format": "v1.1"}

        def sailing(**more: Any) -> float:
            found = client.post(path, json={**body, **more}).json()["results"]  # noqa: B023
            [score] = [hit["score"] for hit in found if hit["memory"] == "We went sailing"]
            return float(score)

        assert sailing() == sailing(temporal_reasoning=True) == sailing(temporal_reasoning=None)
        assert sailing(temporal_reasoning=False) < sailing(), path
