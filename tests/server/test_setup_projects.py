"""Projects and members over HTTP: what is set is heeded or refused; others do not exist."""

from __future__ import annotations

import json
from typing import Any

import httpx

from holdfast.server.mem0_platform.shared import ORGANISATION
from support.served import Served

PROJECTS = f"/api/v1/orgs/organizations/{ORGANISATION}/projects/"
MINE = f"{PROJECTS}default/"


def as_key(server: Served, **more: Any) -> httpx.Client:
    """A client with a new key."""
    made = server.run(server.deployment.admin.create_key(**more))
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Token {made.secret}"})


def test_the_organisation_is_the_one_that_ping_tells(client: httpx.Client) -> None:
    assert client.get("/v1/ping/").json()["org_id"] == ORGANISATION


def test_what_is_set_is_told(client: httpx.Client) -> None:
    values = {
        "custom_instructions": "Keep allergies.",
        "agent_custom_instructions": "Keep tools.",
        "custom_categories": [{"food": "What they eat."}, {"work": "What they do."}],
        "multilingual": False,
        "org_id": ORGANISATION,
        "project_id": "default",
    }
    answer = client.patch(MINE, json=values)
    assert answer.json() == {"message": "Project updated successfully"}
    told = client.get(MINE, params={"org_id": ORGANISATION, "project_id": "default"}).json()
    assert {name: told[name] for name in list(values)[:4]} == dict(list(values.items())[:4])
    assert (told["project_id"], told["user_role"], told["members"]) == ("default", "OWNER", [])
    fields = [("fields", "custom_instructions"), ("fields", "name")]
    some = client.get(MINE, params=fields).json()
    assert some == {"custom_instructions": "Keep allergies.", "name": "default"}
    client.patch(MINE, json={"custom_instructions": "", "custom_categories": []})
    told = client.get(MINE).json()
    assert (told["custom_instructions"], told["custom_categories"]) == (None, None)
    assert told["agent_custom_instructions"] == "Keep tools."


REFUSED: list[dict[str, Any]] = [
    {"decay": True},
    {"memory_depth": "deep"},
    {"version": "v2"},
    {"enable_graph": True},
    {"retrieval_criteria": [{"name": "joy"}]},
    {"custom_instructions": "x" * 8_000},
    {"custom_categories": [7.5]},
    {"custom_categories": ["a" * 600]},
    {"multilingual": "maybe"},
    {"custom_instructions": {"a": 1}},
    {"name": ""},
    {"name": "\ud800"},
    {"description": "\ud800"},
]


def test_what_nothing_would_heed_is_refused(client: httpx.Client) -> None:
    before = client.get(MINE).json()
    for values in REFUSED:
        body = json.dumps({"description": "new", **values})  # escapes what UTF-8 cannot hold
        answer = client.patch(MINE, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 413), values
        assert answer.json()["detail"] == answer.json()["error"]
    assert client.patch(MINE, json={}).status_code == 400
    assert client.get(MINE).json() == before


def test_what_is_off_anyway_can_be_set_off(client: httpx.Client) -> None:
    body = {"decay": False, "enable_graph": False, "description": "d"}
    assert client.patch(MINE, json=body).status_code == 200


def test_other_projects_do_not_exist(client: httpx.Client, server: Served) -> None:
    made = client.post(PROJECTS, json={"name": "second"}).json()
    assert made["message"]
    other = f"{PROJECTS}{made['project_id']}/"
    assert client.get(other).json()["name"] == "second"
    assert len(client.get(PROJECTS).json()) == 2
    with (
        as_key(server, permissions=("admin",)) as _,
        as_key(
            server, project=made["project_id"], permissions=("read", "write", "admin")
        ) as theirs,
    ):
        assert theirs.get(other).json()["project_id"] == made["project_id"]
        assert [one["project_id"] for one in theirs.get(PROJECTS).json()] == [made["project_id"]]
        for path in (MINE, f"{PROJECTS}unknown/", other.replace(ORGANISATION, "elsewhere")):
            assert theirs.get(path).status_code == 404
            assert theirs.patch(path, json={"name": "x"}).status_code == 404
            assert theirs.get(f"{path}members/").status_code == 404
        assert theirs.delete(other).status_code == 403
        assert theirs.post(PROJECTS, json={"name": "third"}).status_code == 403
        assert client.delete(other).json() == {"message": "Project deleted successfully"}
        assert theirs.get(other).status_code == 401
    assert client.get(other).status_code == 404
    assert client.delete(MINE).status_code == 400


def test_members_come_and_go(client: httpx.Client) -> None:
    path = f"{MINE}members/"
    body = {"email": "Ann@example.com", "role": "READER"}
    assert client.put(path, json=body).status_code == 404
    assert client.post(path, json=body).json() == {"message": "Member added successfully"}
    assert client.put(path, json={**body, "role": "OWNER"}).status_code == 200
    [member] = client.get(path).json()["members"]
    assert (member["username"], member["role"]) == ("ann@example.com", "OWNER")
    assert client.get(MINE).json()["members"] == [member]
    assert client.post(path, json={**body, "role": "KING"}).status_code == 400
    assert client.post(path, json={"email": "nobody"}).status_code == 400
    assert client.delete(path).status_code == 400
    assert client.delete(path, params={"email": "ann@example.com"}).status_code == 200
    assert client.delete(path, params={"email": "ann@example.com"}).status_code == 404
    assert client.get(path).json() == {"members": []}


def test_a_reader_changes_nothing(server: Served) -> None:
    with as_key(server, permissions=("read",)) as reader:
        assert reader.get(MINE).json()["user_role"] == "READER"
        assert reader.patch(MINE, json={"name": "x"}).status_code == 403
        body = {"email": "ann@example.com", "role": "OWNER"}
        assert reader.post(f"{MINE}members/", json=body).status_code == 403
        assert reader.get("/api/v1/webhooks/projects/default/").status_code == 403


def test_a_key_of_one_user_is_told_nothing_of_the_project(server: Served) -> None:
    with as_key(server, permissions=("admin",), users=["ann"]) as fenced:
        for path in (MINE, f"{MINE}members/", "/api/v1/webhooks/projects/default/"):
            assert fenced.get(path).status_code == 403
