"""The audit over HTTP: every request leaves its row, with who sent it and from where."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import Client
from holdfast.core.access import OPERATIONS
from holdfast.server.app import build
from support.served import PLAIN, Served
from tests.access.routes import walked
from tests.server.test_mcp import agent, made_key

SILENT = {"metrics": "counts, and is asked every few seconds; a denied one is told"}


def rows(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    """The rows of the audit, the newest first, but for those of looking at it."""
    answer = client.get("/holdfast/audit", params={"size": 1_000, **asked})
    assert answer.status_code == 200, answer.text
    return [row for row in answer.json()["results"] if row["action"] != "audit.listed"]


def remember(client: httpx.Client, user: str = "ann") -> str:
    body = {"messages": "I keep bees", "user_id": user, "infer": False}
    answer = client.post("/holdfast/add", json=body)
    assert answer.status_code == 200, answer.text
    id_: str = answer.json()["results"][0]["id"]
    return id_


def test_a_row_tells_who_did_what_from_where(server: Served, client: httpx.Client) -> None:
    key = made_key(server, label="app")
    mine = {"Authorization": f"Token {key}", "X-Request-ID": "r-1"}
    body = {"query": "bees", "filters": {"user_id": "ann"}}
    id_ = remember(client)
    answer = client.post("/holdfast/search", json=body, headers=mine)
    assert answer.status_code == 200
    [row] = rows(client, request_id="r-1")
    assert row["action"] == "search"
    assert (row["principal"], row["principal_kind"]) == (key.split("-")[1], "key")
    assert (row["via"], row["address"]) == ("http", "127.0.0.1")
    assert (row["outcome"], row["user_id"], row["count"]) == ("ok", "ann", 1)
    [added] = rows(client, action="add")
    assert (added["principal_kind"], added["target"]) == ("root", id_)


def test_a_memory_tells_by_which_key_it_was_made_and_edited(
    server: Served, client: httpx.Client
) -> None:
    key = made_key(server, label="app")
    id_ = remember(client)
    with Client(server.url, key) as mine:
        mine.update(id_, "I keep seven bees")
        told = mine.provenance(id_)
    [added, edited] = told["changes"]
    assert (told["principal_kind"], told["via"], told["edited"]) == ("root", "http", True)
    assert (added["how"], added["principal_kind"]) == ("verbatim", "root")
    assert (edited["how"], edited["principal_kind"]) == ("edited", "key")
    assert edited["principal"] == key.split("-")[1]


def test_who_is_denied_leaves_a_row(server: Served, client: httpx.Client) -> None:
    key = made_key(server, permissions=["read"], users=["ann"])
    mine = {"Authorization": f"Token {key}"}
    id_ = remember(client, "bob")
    assert client.post("/holdfast/reset", headers=mine).status_code == 403
    assert client.post("/holdfast/get", json={"memory_id": id_}, headers=mine).status_code == 200
    denied = rows(client, outcome="denied")
    assert [(row["action"], row["code"], row["principal_kind"]) for row in denied] == [
        ("reset", "FORBIDDEN", "key")
    ]
    [got] = rows(client, action="get")
    assert (got["user_id"], got["count"]) == ("bob", 0), "looked for, and not told"


def test_strangers_that_knock_leave_one_row_for_each_door(
    server: Served, client: httpx.Client
) -> None:
    for number in range(5):
        wrong = {"Authorization": f"Token hf-{number}"}
        answer = httpx.post(f"{server.url}/holdfast/reset", headers=wrong, verify=PLAIN)
        assert answer.status_code == 401
    httpx.get(f"{server.url}/holdfast/audit", verify=PLAIN)
    denied = rows(client, outcome="denied")
    told = {(row["action"], row["principal_kind"], row["code"]): row["count"] for row in denied}
    assert told == {
        ("reset", "nobody", "UNAUTHENTICATED"): 5,
        ("audit", "nobody", "UNAUTHENTICATED"): 1,
    }


def test_a_request_that_is_wrong_leaves_a_row(client: httpx.Client) -> None:
    answer = client.post("/holdfast/search", json={"no": "query"})
    assert answer.status_code == 400
    [row] = rows(client)
    assert (row["action"], row["outcome"], row["code"]) == ("search", "failed", "VALIDATION")


async def test_an_agent_leaves_rows(server: Served, client: httpx.Client) -> None:
    key = made_key(server, permissions=["read"])
    remember(client)
    async with agent(server, key) as talking:
        await talking.call_tool("search_memories", {"query": "x", "user_id": "ann"})
    found = [row for row in rows(client) if row["action"] == "search"]
    assert [(row["via"], row["user_id"], row["principal_kind"]) for row in found] == [
        ("mcp", "ann", "key")
    ]


def concrete(path: str) -> str:
    """A path with its parameters filled in."""
    kinds = {"kind": "user", "entity_type": "user"}
    return re.sub(r"{(\w+)[^}]*}", lambda name: kinds.get(name[1], "unknown-1"), path)


def test_every_operation_leaves_a_row(client: httpx.Client) -> None:
    """Each route that asks for a credential, called by whoever may do everything."""
    left: set[str] = set()
    asked: set[str] = set()
    for (method, path), operations in walked(build({"path": "/nowhere"})):
        if not operations or operations[0] in SILENT:
            continue
        request = f"{method}{path}".replace("/", ".").translate({ord(c): None for c in "{}"})
        json_ = {} if method in ("POST", "PUT", "PATCH") else None
        client.request(method, concrete(path), json=json_, headers={"X-Request-ID": request})
        asked.add(request)
        # what is done to a project stands in the project's own chain
        found = rows(client, request_id=request) or rows(
            client, request_id=request, project="unknown-1"
        )
        if found or path == "/holdfast/audit":
            left.add(request)
        assert set(operations) <= set(OPERATIONS)
    assert asked - left == set()
    assert len(asked) > 80
    verdicts = client.post("/holdfast/audit/verify", json={}).json()["results"]
    assert [one["good"] for one in verdicts] == [True]


@pytest.fixture
def stranger(server: Served) -> httpx.Client:
    """The administrator of another project."""
    server.run(server.deployment.admin.create_project("Blue", project_id="blue"))
    key = made_key(server, project="blue", permissions=["admin", "read", "write"])
    headers = {"Authorization": f"Token {key}"}
    return httpx.Client(base_url=server.url, headers=headers, verify=PLAIN)


def test_a_project_sees_its_own(stranger: httpx.Client, client: httpx.Client) -> None:
    with stranger:
        remember(client)
        assert [row["action"] for row in rows(stranger)] == ["create_key"]
        remember(stranger, "bob")
        assert [row["user_id"] for row in rows(stranger, action="add")] == ["bob"]
        assert stranger.get("/holdfast/audit?project=default").status_code == 404
        assert stranger.get("/holdfast/audit/head?everywhere=true").status_code == 403
        assert stranger.post("/holdfast/audit/prune", json={}).status_code == 403
        [verdict] = stranger.post("/holdfast/audit/verify", json={}).json()["results"]
        assert (verdict["project"], verdict["good"]) == ("blue", True)
    heads = client.get("/holdfast/audit/head?everywhere=true").json()["results"]
    assert {head["project"] for head in heads} == {"default", "blue"}
    assert rows(client, project="blue", action="add")[0]["user_id"] == "bob"


def test_export_verify_and_prune(client: httpx.Client, tmp_path: Path) -> None:
    for user in ("ann", "=1+1"):
        remember(client, user)
    exported = client.get("/holdfast/audit/export?action=add")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    told = [json.loads(line) for line in exported.text.splitlines()]
    assert [row["user_id"] for row in told] == ["ann", "=1+1"]
    table = client.get("/holdfast/audit/export?action=add&format=csv")
    found = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["user_id"] for row in found] == ["ann", "'=1+1"], "no formula for a spreadsheet"
    assert [row["hash"] for row in found] == [row["hash"] for row in told]
    [head] = client.get("/holdfast/audit/head").json()["results"]
    body = {"anchors": [head]}
    [verdict] = client.post("/holdfast/audit/verify", json=body).json()["results"]
    assert (verdict["good"], verdict["fault"]) == (True, None)
    wrong = {"anchors": [{**head, "hash": "0" * 64}]}
    [verdict] = client.post("/holdfast/audit/verify", json=wrong).json()["results"]
    assert (verdict["good"], verdict["fault"]["kind"]) == (False, "anchor")
    pruned = client.post("/holdfast/audit/prune", json={"before": "2100-01-01"}).json()["pruned"]
    assert pruned >= 2
    with sqlite3.connect(tmp_path / "store" / "holdfast.db") as connection:
        connection.execute("UPDATE audit SET action = 'x' WHERE no = (SELECT max(no) FROM audit)")
    connection.close()
    [verdict] = client.post("/holdfast/audit/verify", json={}).json()["results"]
    assert verdict["fault"]["kind"] == "changed"
    refused = client.post("/holdfast/audit/prune", json={"before": "2100-01-01"})
    assert refused.status_code == 500
