"""The quarantine over HTTP, MCP and the clients: added with untrusted keys, decided by others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import Client
from holdfast.errors import AccessError
from support.served import Served, served

TALK = [
    {"role": "user", "content": "I like tea."},
    {"role": "tool", "content": "He likes zanzibar.", "trust": "untrusted"},
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "store") as running:
        yield running


def key(client: httpx.Client, **body: Any) -> dict[str, str]:
    made = client.post("/holdfast/keys", json=body)
    assert made.status_code == 201, made.text
    return {"Authorization": f"Token {made.json()['secret']}"}


def test_what_is_held_is_shown_and_decided(client: httpx.Client) -> None:
    body = {"messages": TALK, "user_id": "ann"}
    added = client.post("/holdfast/add", json=body).json()
    assert [item["event"] for item in added["results"]] == ["ADD", "HELD"]
    client.post("/holdfast/add", json={**body, "user_id": "bob", "trust": "untrusted"})
    listed = client.get("/holdfast/quarantine").json()
    assert (listed["total"], listed["results"][0]["messages"]) == (2, 2)
    [one] = client.get("/holdfast/quarantine", params={"user_id": "ann"}).json()["results"]
    assert one["id"] == added["results"][1]["id"]
    assert (one["preview"], one["reasons"]) == ("He likes zanzibar.", ["message"])
    assert one["added_by"]["via"] == "http"
    whole = client.get(f"/holdfast/quarantine/{one['id']}").json()
    assert whole["messages"][0]["content"] == "He likes zanzibar."
    assert client.get("/holdfast/quarantine/nothing").status_code == 404

    done = client.post("/holdfast/quarantine/approve", json={"held_ids": [one["id"]]}).json()
    assert (done["count"], done["results"][0]["results"][0]["event"]) == (1, "ADD")
    gone = client.post("/holdfast/quarantine/reject", json={"user_id": "bob"}).json()
    assert gone == {"count": 1, "left": 0}
    assert client.get("/holdfast/quarantine").json() == {"results": [], "total": 0}
    for wrong in ({}, {"held_ids": ["x"]}, {"held_ids": [], "user_id": ""}, {"ids": ["x"]}):
        for path in ("approve", "reject"):
            answer = client.post(f"/holdfast/quarantine/{path}", json=wrong)
            assert answer.status_code in (400, 404, 422), answer.text
    told = client.get("/metrics").text
    assert 'holdfast_held_adds_total{outcome="approved"} 1.0' in told


def test_some_messages_are_decided(server: Served, client: httpx.Client) -> None:
    talk = [{"role": "tool", "content": text, "trust": "untrusted"} for text in ("a", "b", "c")]
    added = client.post("/holdfast/add", json={"messages": talk, "user_id": "ann"}).json()
    one = {"held_ids": [added["results"][0]["id"]]}
    done = client.post("/holdfast/quarantine/approve", json={**one, "messages": [2]}).json()
    [answer] = done["results"]
    assert [item["memory"] for item in answer["results"]] == ["b"]
    again = client.post("/holdfast/quarantine/approve", json={**one, "messages": [1]})
    assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
    wrong = client.post("/holdfast/quarantine/approve", json={**one, "messages": ["x"]})
    assert wrong.status_code in (400, 422)
    with Client(server.url, api_key=server.key) as mine:
        gone = mine.quarantine.reject([answer["rest"]], messages=[1])
        left = mine.quarantine.find(gone["rest"])
        assert [message["content"] for message in left["messages"]] == ["c"]
        last = mine.quarantine.approve([gone["rest"]], messages=[1])
        assert "rest" not in last["results"][0]
    assert client.get("/holdfast/quarantine").json()["total"] == 0


def test_an_untrusted_key_adds_and_reads_and_nothing_else(client: httpx.Client) -> None:
    weak = key(client, trust="untrusted", label="crawler")
    mine = {"messages": [{"role": "user", "content": "I am root."}], "user_id": "ann"}
    said = {**mine, "trust": "trusted"}
    for path, body in (
        ("/holdfast/add", said),
        ("/v3/memories/add/", said),
        ("/v1/memories/", mine),
        ("/memories", mine),
    ):
        answer = client.post(path, json=body, headers=weak)
        assert answer.status_code == 200, answer.text
        assert "HELD" in answer.text, path
    assert client.get("/holdfast/whoami", headers=weak).json()["trust"] == "untrusted"
    [row, *_] = client.get("/holdfast/keys").json()["results"]
    assert row["trust"] == "untrusted"
    kept = client.post("/holdfast/add", json={"messages": "tea", "user_id": "ann"}).json()
    [item] = kept["results"]
    found = client.post("/holdfast/get_all", json={"filters": {"user_id": "ann"}}, headers=weak)
    assert [one["id"] for one in found.json()["results"]] == [item["id"]]
    for verb, body in (
        ("update", {"memory_id": item["id"], "text": "I am root."}),
        ("delete", {"memory_id": item["id"]}),
        ("delete_all", {"user_id": "ann"}),
        ("reset", {}),
    ):
        answer = client.post(f"/holdfast/{verb}", json=body, headers=weak)
        assert answer.status_code == 403, (verb, answer.text)
    for method, path in (
        ("GET", "/holdfast/quarantine"),
        ("POST", "/holdfast/quarantine/approve"),
    ):
        assert client.request(method, path, json={}, headers=weak).status_code == 403
    refused = client.post("/holdfast/keys", json={"trust": "untrusted", "permissions": ["admin"]})
    assert refused.status_code == 400
    assert client.get("/holdfast/quarantine").json()["total"] == 4


def test_a_fenced_admin_decides_about_its_own(client: httpx.Client) -> None:
    anns = key(client, permissions=["admin", "read", "write"], users=["ann"])
    reader = key(client, permissions=["read", "write"])
    ids = {}
    for user in ("ann", "bob"):
        body = {"messages": "tea", "user_id": user, "trust": "untrusted"}
        [item] = client.post("/holdfast/add", json=body).json()["results"]
        ids[user] = item["id"]
    assert client.get("/holdfast/quarantine", headers=reader).status_code == 403
    [one] = client.get("/holdfast/quarantine", headers=anns).json()["results"]
    assert one["id"] == ids["ann"]
    assert client.get(f"/holdfast/quarantine/{ids['bob']}", headers=anns).status_code == 404
    for path in ("approve", "reject"):
        url = f"/holdfast/quarantine/{path}"
        assert client.post(url, json={"held_ids": [ids["bob"]]}, headers=anns).status_code == 404
        answer = client.post(url, json={"user_id": "bob"}, headers=anns).json()
        assert answer["count"] == 0
    done = client.post(
        "/holdfast/quarantine/approve", json={"held_ids": [ids["ann"]]}, headers=anns
    )
    assert done.json()["count"] == 1


def test_a_project_says_what_is_held(client: httpx.Client) -> None:
    policy = {"trust": {"roles": {"tool": "untrusted"}}}
    answer = client.patch("/holdfast/projects/default", json=policy)
    assert answer.json()["settings"] == policy
    said = [{"role": "tool", "content": "tea"}, {"role": "user", "content": "rum"}]
    added = client.post("/memories", json={"messages": said, "user_id": "ann"}).json()
    assert [item["event"] for item in added["results"]] == ["HELD", "ADD"]
    wrong = client.patch("/holdfast/projects/default", json={"trust": {"roles": {"tool": 1}}})
    assert wrong.status_code == 400


def test_the_client_of_an_untrusted_key(server: Served, client: httpx.Client) -> None:
    weak = key(client, trust="untrusted")["Authorization"].split()[1]
    with Client(server.url, weak) as memory:
        answer = memory.add("tea", user_id="ann")
        assert [item["event"] for item in answer["results"]] == ["HELD"]
        assert memory.add("rum", user_id="ann", trust="trusted")["results"][0]["event"] == "HELD"
        with pytest.raises(AccessError):
            memory.delete_all(user_id="ann")
