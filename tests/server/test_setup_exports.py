"""Exports, summaries and feedback over HTTP, with a model and without, and what deletion leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.directory import Delivery, Export, Feedback
from support.llm_server import LLMServer
from support.served import Served, served

ANN = {"user_id": "ann"}
FORM = {
    "type": "object",
    "properties": {
        "facts": {"type": "array", "items": {"type": "string"}},
        "food": {"type": "array", "items": {"$ref": "#/$defs/Dish"}},
        "name": {"type": "string"},
    },
    "required": ["facts"],
    "$defs": {"Dish": {"type": "object", "properties": {"memory": {}, "date": {}}}},
}


def add(server: Served, text: str, user_id: str = "ann", **more: Any) -> str:
    """Remember a text as it is; the memory's id."""
    memory = server.deployment.admin.memory()
    made = server.run(memory.add(text, user_id=user_id, infer=False, **more))
    return str(made["results"][0]["id"])


def export(client: httpx.Client, **more: Any) -> str:
    answer = client.post("/v1/exports/", json={"schema": FORM, "filters": ANN, **more})
    assert answer.status_code == 201, answer.text
    assert answer.json()["message"]
    return str(answer.json()["id"])


def result(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/exports/get/", json=body)


def as_ann(server: Served) -> httpx.Client:
    """A client with a key of one user."""
    made = server.run(server.deployment.admin.create_key(users=["ann"]))
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Token {made.secret}"})


def test_without_a_model_memories_are_listed(client: httpx.Client, server: Served) -> None:
    add(server, "I like tea", categories=["food"])
    add(server, "I live in Oslo")
    add(server, "a secret of bob's", "bob")
    export_id = export(client)
    made = result(client, memory_export_id=export_id).json()
    assert sorted(made["facts"]) == ["I like tea", "I live in Oslo"]
    [dish] = made["food"]
    assert (dish["memory"], set(dish)) == ("I like tea", {"memory", "date"})
    assert "name" not in made
    assert result(client, filters=ANN).json() == made
    again = export(client, schema=json.dumps({"properties": {"n": {"type": "string"}}}))
    assert len(result(client, memory_export_id=again).json()["memories"]) == 2
    assert result(client, filters=ANN).json() == result(client, memory_export_id=again).json()
    # as older clients ask: ids at the top
    older = client.post("/v1/exports/", json={"schema": FORM, "user_id": "bob"}).json()["id"]
    assert result(client, memory_export_id=older).json()["facts"] == ["a secret of bob's"]
    assert result(client, user_id="bob").json()["facts"] == ["a secret of bob's"]


def test_what_is_no_export(client: httpx.Client, server: Served) -> None:
    for body in ({"memory_export_id": "unknown"}, {"filters": {"user_id": "nobody"}}):
        answer = result(client, **body)
        assert answer.status_code == 404
        assert answer.json()["error"] == "No memory export request found"
    assert result(client).status_code == 400
    refused: list[dict[str, Any]] = [
        {"filters": {}},
        {"filters": None},
        {"filters": {"NOT": [ANN]}},
        {"filters": {"OR": [ANN, {"a": 1}]}},
        {"schema": "nothing"},
        {"schema": {}},
        {"schema": {"type": "array", "properties": {"a": {}}}},
        {"schema": {"properties": {"a": {"x": "y" * 70_000}}}},
        {"schema": 7},
    ]
    for wrong in refused:
        answer = client.post("/v1/exports/", json={"schema": FORM, "filters": ANN, **wrong})
        assert answer.status_code in (400, 413), wrong
    for wrong in refused[:4]:
        assert client.post("/v1/summary/", json=wrong).status_code == 400


def test_nothing_said_is_left_of_what_is_deleted(client: httpx.Client, server: Served) -> None:
    kept = add(server, "I like tea", "bob")
    gone, other = add(server, "a secret"), add(server, "another secret")
    for memory_id, why in ((kept, "fine"), (gone, "a secret"), (other, "a secret")):
        body = {"memory_id": memory_id, "feedback": "NEGATIVE", "feedback_reason": why}
        assert client.post("/v1/feedback/", json=body).status_code == 200
    first, of_bob = export(client), export(client, filters={"user_id": "bob"})
    client.delete(f"/v1/memories/{gone}/")
    assert result(client, memory_export_id=first).status_code == 404
    second = export(client)
    client.delete("/v1/memories/", params=ANN)
    assert result(client, memory_export_id=second).status_code == 404
    assert result(client, memory_export_id=of_bob).json()["facts"] == ["I like tea"]
    assert "secret" not in server.run(rows(server))


async def rows(server: Served) -> str:
    """What the directory holds of memories."""
    parts = await server.deployment.admin._parts()
    found = [await parts.directory.select(kind) for kind in (Export, Feedback, Delivery)]
    assert found[0]
    assert found[1]
    return repr(found)


def test_a_summary_without_a_model_is_a_digest(client: httpx.Client, server: Served) -> None:
    assert client.post("/v1/summary/", json={"filters": ANN}).json() == []
    add(server, "I like tea")
    add(server, "I live in Oslo")
    [made] = client.post("/v1/summary/", json={"filters": ANN}).json()
    assert made == {
        "summary": "- I live in Oslo\n- I like tea",
        "total_memories": 2,
        "made_by": "digest",
    }


def test_feedback_is_one_opinion(client: httpx.Client, server: Served) -> None:
    memory_id = add(server, "I like tea")
    body = {"memory_id": memory_id, "feedback": "POSITIVE", "feedback_reason": "true"}
    first = client.post("/v1/feedback/", json=body).json()
    assert first == {"id": first["id"], "feedback": "POSITIVE", "feedback_reason": "true"}
    later = client.post("/v1/feedback/", json={"memory_id": memory_id, "feedback": None}).json()
    assert later == {"id": first["id"], "feedback": None, "feedback_reason": None}
    wrong = {
        400: [{"feedback": "FINE"}, {"memory_id": "x"}, {"feedback_reason": 7}],
        404: [{"memory_id": first["id"]}],
        413: [{"feedback_reason": "x" * 5_000}],
    }
    for status, bodies in wrong.items():
        for one in bodies:
            assert client.post("/v1/feedback/", json={**body, **one}).status_code == status, one


def test_a_key_of_one_user_stays_with_it(client: httpx.Client, server: Served) -> None:
    add(server, "I like tea")
    bobs = add(server, "a secret of bob's", "bob")
    export_id = export(client)
    with as_ann(server) as ann:
        assert ann.post("/v1/exports/", json={"schema": FORM, "filters": ANN}).status_code == 403
        assert result(ann, memory_export_id=export_id).status_code == 403
        body = {"memory_id": bobs, "feedback": "POSITIVE"}
        assert ann.post("/v1/feedback/", json=body).status_code == 404
        everybody = {"filters": {"user_id": "*"}}
        [made] = ann.post("/v1/summary/", json=everybody).json()
        assert (made["summary"], made["total_memories"]) == ("- I like tea", 1)
        assert ann.post("/v1/summary/", json={"filters": {"user_id": "bob"}}).json() == []
        assert ann.get("/v1/events/").json()["count"] == 0


# ------------------------------------------------------------------------- with a model


@pytest.fixture
def modelled(llm: LLMServer, tmp_path: Path) -> Iterator[Served]:
    model = {"model": "scripted", "openai_base_url": llm.url, "api_key": "sk-test"}
    more = {
        "llm": {"provider": "openai", "config": model},
        "model_timeout_s": 5.0,
        "model_attempts_max": 1,
        "job_attempts_max": 2,
    }
    with served(tmp_path / "modelled", more) as running:
        yield running


def test_a_model_fills_in_the_form(llm: LLMServer, modelled: Served) -> None:
    add(modelled, "I like tea")
    good = {"facts": ["likes tea"], "name": "Ann"}
    llm.say('{"export": "nothing"}', json.dumps({"export": json.dumps(good)}))
    with httpx.Client(base_url=modelled.url, headers=modelled.headers, timeout=30) as client:
        export_id = export(client, export_instructions="Be brief.")
        assert result(client, memory_export_id=export_id).json() == good
        first, repair = (json.dumps(body) for body in llm.bodies)
        assert "I like tea" in first
        assert "Be brief." in first
        assert "could not be used" in repair
        event = client.get(f"/v1/event/{export_id}/").json()
        assert (event["event_type"], event["status"]) == ("EXPORT", "SUCCEEDED")
        assert "tea" not in json.dumps(event)
        llm.say('{"summary": "Ann likes tea."}')
        [made] = client.post("/v1/summary/", json={"filters": ANN}).json()
        assert made == {"summary": "Ann likes tea.", "total_memories": 1, "made_by": "model"}
        llm.say('{"export": "{\\"facts\\": 7}"}')
        answer = result(client, memory_export_id=export(client))
        assert answer.status_code == 502
        assert "answer" in answer.json()["detail"]


def test_an_export_in_the_making_tells_nothing_deleted(llm: LLMServer, modelled: Served) -> None:
    memory_id = add(modelled, "a secret")
    told, nothing = ({"facts": ["a secret"]}, {"facts": []})
    llm.say(*(json.dumps({"export": json.dumps(each)}) for each in (told, nothing)))
    handle = llm.handle

    def deleting(request: Any) -> Any:
        if len(llm.requests) == 0:
            modelled.run(modelled.deployment.admin.memory().delete(memory_id))
        return handle(request)

    llm.handle = deleting  # type: ignore[method-assign]
    with httpx.Client(base_url=modelled.url, headers=modelled.headers, timeout=30) as client:
        assert result(client, memory_export_id=export(client)).json() == nothing
