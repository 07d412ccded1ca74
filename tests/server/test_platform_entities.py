"""The platform's routes for deleting many, for entities, and for events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from holdfast import AsyncMemory
from holdfast.server.mem0_platform import entities
from server.platform_client import added, talking, texts
from support.served import Served

UNKNOWN = "0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"
ODD_NAMES = ("a/b?c", "al ice", "ünï/cødé 🙂", "100%", "a/b/", "history")


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with talking(server) as client:
        yield client


def left(client: httpx.Client) -> list[str]:
    """What every user still has, oldest first."""
    found = client.post("/v3/memories/", json={"filters": {"user_id": "*"}}).json()
    return [one["memory"] for one in found["results"]][::-1]


@pytest.fixture
def filled(client: httpx.Client) -> httpx.Client:
    added(client, "one", "ann", metadata={"a": 1})
    added(client, "two", "ann", run_id="r1")
    added(client, "three", "bob", run_id="r1")
    return client


UNREADABLE = (
    "", "{}", "[]", "null", "None", "all", "*", "{'user_id': 'ann'", "{user_id: ann}", "{'a'}",
    "{'NOT': [{'user_id': 'bob'}]}", "{'color': 'red'}", "{'user_id': open('x')}", "(" * 9_000,
    "{'user_id': " * 400, "-" * 9_000 + "1", "{'user_id': b'ann'}", "{1: 2}", '{"user_id": {}}',
    "{'user_id': 'ann', 'created_at': {'gte': 'soon'}}", "\x00",
)  # fmt: skip


def test_what_cannot_be_read_never_deletes_anything(filled: httpx.Client) -> None:
    for filters in UNREADABLE:
        answer = filled.delete("/v1/memories/", params={"filters": filters})
        assert answer.status_code == 400, filters[:40]
    for params in ({}, {"user_id": ""}, {"metadata": '{"a": 1}'}, {"metadata": "x"}, {"page": 1}):
        answer = filled.delete("/v1/memories/", params=params)
        assert answer.status_code == 400, params
    assert filled.delete("/v1/memories/?user_id=ann&filters=").status_code == 400
    assert filled.delete("/v1/memories/?user_id=ann&metadata=x").status_code == 400
    assert filled.delete("/v1/memories/?user_id=ann&project_id=another").status_code == 404
    assert left(filled) == ["one", "two", "three"]


def test_ids_together_narrow_down(filled: httpx.Client) -> None:
    done = filled.delete("/v1/memories/", params={"user_id": "ann", "run_id": "r1"}).json()
    assert done["message"].startswith("Delete in progress")
    assert left(filled) == ["one", "three"]
    event = filled.get(f"/v1/event/{done['event_id']}/").json()
    assert (event["event_type"], event["status"]) == ("DELETE_ALL", "SUCCEEDED")
    assert event["payload"] == {"user_id": "ann", "run_id": "r1"}
    filled.delete("/v1/memories/", params={"user_id": "*"})
    assert left(filled) == []


def test_filters_come_as_json_or_as_python(filled: httpx.Client) -> None:
    filled.delete("/v1/memories/", params={"filters": "{'user_id': 'ann', 'a': 1}"})
    assert left(filled) == ["two", "three"]
    filled.delete("/v1/memories/", params={"filters": '{"AND": [{"user_id": "bob"}]}'})
    assert left(filled) == ["two"]
    filled.delete("/v1/memories/", params={"user_id": "ann", "metadata": '{"a": 1}'})
    assert left(filled) == ["two"]


def test_names_may_hold_anything(client: httpx.Client) -> None:
    for name in ODD_NAMES:
        added(client, "here", name)
    people = client.get("/v1/entities/").json()
    assert {one["name"] for one in people["results"]} == set(ODD_NAMES)
    for count, name in enumerate(ODD_NAMES, 1):
        path = f"/v2/entities/user/{quote(name, safe='')}/"
        shown = client.get(path).json()
        assert (shown["id"], shown["name"], shown["total_memories"]) == (name, name, 1)
        assert shown == next(one for one in people["results"] if one["name"] == name)
        memories = client.get(f"/v1/memories/user/{quote(name, safe='')}/")
        assert texts(memories) == ["here"]
        assert client.delete(path).json()["event_id"]
        assert client.get(path).status_code == 404
        assert client.delete(path).status_code == 200  # whoever is gone is gone
        assert client.get("/v1/entities/").json()["count"] == len(ODD_NAMES) - count


def test_entities_are_told_all_at_once(client: httpx.Client) -> None:
    for number in range(103):
        added(client, "here", f"user {number:03}")
    added(client, "here", "user 000", agent_id="bot", app_id="app", run_id="run")
    every = client.get("/v1/entities/").json()
    assert (every["count"], len(every["results"]), every["next"]) == (106, 106, None)
    totals = [every[f"total_{kind}"] for kind in ("users", "agents", "apps", "runs")]
    assert totals == [103, 1, 1, 1]
    page = client.get("/v2/entities/", params={"page": 2, "page_size": 100}).json()
    assert (page["count"], len(page["results"]), page["total_users"]) == (106, 6, 103)
    assert page["previous"]
    names = client.get("/v1/entities/filters/").json()
    assert (names["agent_id"], len(names["user_id"])) == (["bot"], 103)
    stats = client.get("/v1/stats/").json()
    assert (stats["total_memories"], stats["total_users"]) == (104, 103)
    agent = client.delete("/v1/entities/agent/bot/")
    assert agent.status_code == 200
    assert client.get("/v1/entities/").json()["total_agents"] == 0


def test_a_page_of_entities_costs_a_page(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: each entity that is read has its memories counted."""
    for number in range(5):
        added(client, "here", f"user {number}", agent_id="bot")
    asked: list[tuple[int, int]] = []
    honest = AsyncMemory.entities

    async def spy(self: AsyncMemory, *, page: int = 1, page_size: int = 100) -> Any:
        asked.append((page, page_size))
        return await honest(self, page=page, page_size=page_size)

    monkeypatch.setattr(AsyncMemory, "entities", spy)
    page = client.get("/v1/entities/", params={"page": 2, "page_size": 2}).json()
    assert [one["name"] for one in page["results"]] == ["user 1", "user 2"]
    assert (page["count"], page["total_users"], page["total_agents"]) == (6, 5, 1)
    assert "page=3&page_size=2" in page["next"]
    assert "page=1&page_size=2" in page["previous"]
    alone = client.get("/v1/entities/", params={"page": 1}).json()
    assert (len(alone["results"]), alone["next"], alone["previous"]) == (6, None, None)
    assert asked == [(2, 2), (1, 100)]


def test_an_answer_with_all_entities_has_an_end(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mem0's clients ask for all of them at once; what is beyond the bound is on pages."""
    for number in range(5):
        added(client, "here", f"user {number}")
    monkeypatch.setattr(entities, "ENTITIES_SHOWN_MAX", 4)
    monkeypatch.setattr(entities, "PAGE_SIZE_MAX", 2)
    shown = client.get("/v1/entities/").json()
    assert [one["name"] for one in shown["results"]] == [f"user {n}" for n in range(4)]
    assert (shown["count"], shown["total_users"], shown["previous"]) == (5, 5, None)
    rest = client.get(shown["next"]).json()
    assert [one["name"] for one in rest["results"]] == ["user 4"]


def test_an_entity_that_is_none(filled: httpx.Client) -> None:
    for path in ("/v1/entities/people/ann/", "/v1/entities/user/%2A/", "/v1/entities/user/%20/"):
        assert filled.delete(path).status_code == 400
    assert filled.get("/v1/entities/user/nobody/").status_code == 404
    assert left(filled) == ["one", "two", "three"]


def test_events_are_listed_by_kind_and_status(filled: httpx.Client) -> None:
    filled.delete("/v1/memories/", params={"user_id": "bob"})
    every = filled.get("/v1/events/").json()
    assert every["count"] == 4
    assert [one["event_type"] for one in every["results"]] == ["DELETE_ALL", "ADD", "ADD", "ADD"]
    assert filled.get("/v1/memories/events/").json()["count"] == 4
    adds = filled.get("/v1/events/", params={"event_type": "ADD", "page_size": 2}).json()
    assert (adds["count"], len(adds["results"])) == (3, 2)
    assert filled.get(adds["next"]).json()["count"] == 3
    assert filled.get("/v1/events/", params={"status": "FAILED"}).json()["count"] == 0
    assert filled.get("/v1/events/", params={"end_date": "2020-01-01"}).json()["count"] == 0
    assert filled.get("/v1/events/", params={"start_date": "2020-01-01"}).json()["count"] == 4
    assert filled.get("/v1/events/", params={"status": "NONE"}).status_code == 400
    unknown = filled.get(f"/v1/event/{UNKNOWN}/")
    assert (unknown.status_code, "error" in unknown.json()) == (404, True)


def test_a_key_for_one_user_knows_of_no_other(filled: httpx.Client, server: Served) -> None:
    key = server.run(server.deployment.admin.create_key(users=["bob"])).secret
    with talking(server, key) as bob:
        assert [one["name"] for one in bob.get("/v1/entities/").json()["results"]] == ["bob"]
        assert bob.get("/v1/entities/user/ann/").status_code == 404
        assert left(bob) == ["three"]
        assert bob.get("/v1/events/").json()["count"] == 1
        assert bob.get("/v1/stats/").status_code == 403
        everything = bob.delete("/v1/memories/", params={"user_id": "*"}).json()
        assert bob.get(f"/v1/event/{everything['event_id']}/").status_code == 200
        by_run = bob.delete("/v1/memories/", params={"run_id": "r1"}).json()
    assert left(filled) == ["one", "two"]
    other = server.run(server.deployment.admin.create_key(users=["ann"])).secret
    with talking(server, other) as ann:
        for event in (everything, by_run):
            assert ann.get(f"/v1/event/{event['event_id']}/").status_code == 404
