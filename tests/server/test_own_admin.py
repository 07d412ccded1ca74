"""Keys and projects over HTTP, and who may hand out what."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from holdfast.core.access import Principal
from holdfast.server.auth import credentials as auth
from support.served import Served


def as_key(server: Served, secret: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"})


def test_a_key_from_its_making_to_its_end(client: httpx.Client, server: Served) -> None:
    body = {"label": "phone", "permissions": ["read"], "users": ["bob"], "expires_at": 4e9}
    answer = client.post("/holdfast/keys", json=body)
    assert answer.status_code == 201
    made = answer.json()
    with as_key(server, made["secret"]) as bob:
        who = bob.get("/holdfast/whoami").json()
        assert (who["id"], who["permissions"], who["users"]) == (made["id"], ["read"], ["bob"])
        listed = client.get("/holdfast/keys")
        assert made["secret"] not in listed.text
        assert "digest" not in listed.text
        assert [(one["id"], one["label"]) for one in listed.json()["results"]] == [
            (made["id"], "phone")
        ]
        place = f"/holdfast/keys/{made['id']}"
        again = client.post(f"{place}/rotate", json={"grace_s": 60}).json()
        assert again["users"] == ["bob"]
        assert bob.get("/holdfast/whoami").status_code == 200
        assert client.delete(place).status_code == 200
        assert bob.get("/holdfast/whoami").status_code == 401
    with as_key(server, again["secret"]) as bob:
        assert bob.get("/holdfast/whoami").status_code == 200
        for call in (
            bob.get("/holdfast/keys"),
            bob.post("/holdfast/keys", json={}),
            bob.get("/holdfast/projects"),
            bob.delete(place),
        ):
            assert call.status_code == 403
    assert client.delete(place).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"permissions": ["everything"]},
        {"permissions": []},
        {"users": "bob"},
        {"user": ["bob"]},
        {"users": ["*"]},
        {"expires_at": "tomorrow"},
        {"expires_at": "2020-01-01"},
    ],
)
def test_a_wrong_wish_makes_no_key(client: httpx.Client, body: dict[str, Any]) -> None:
    assert client.post("/holdfast/keys", json=body).status_code == 400
    assert client.get("/holdfast/keys").json()["results"] == []


def test_a_project_has_keys_of_its_own(client: httpx.Client, server: Served) -> None:
    made = client.post("/holdfast/projects", json={"name": "Red", "project_id": "red"})
    assert (made.status_code, made.json()["id"]) == (201, "red")
    named = {"params": {"project": "red"}}
    key = client.post("/holdfast/keys", json={"permissions": ["admin"]}, **named).json()
    with as_key(server, key["secret"]) as red:
        assert red.get("/holdfast/projects/red").json()["name"] == "Red"
        changed = red.patch("/holdfast/projects/red", json={"custom_instructions": "Be brief."})
        assert changed.json()["settings"] == {"custom_instructions": "Be brief."}
        assert red.get("/holdfast/projects/default").status_code == 404
        assert red.patch("/holdfast/projects/default", json={"name": "x"}).status_code == 404
        assert red.get("/holdfast/keys", params={"project": "default"}).status_code == 404
        assert red.get("/holdfast/projects").status_code == 403
        assert red.post("/holdfast/keys", json={"permissions": ["admin"]}).status_code == 201
        assert len(red.get("/holdfast/keys").json()["results"]) == 2
    assert client.get("/holdfast/keys").json()["results"] == []
    listed = client.get("/holdfast/projects").json()["results"]
    assert {one["id"] for one in listed} == {"default", "red"}
    assert client.delete("/holdfast/projects/red").status_code == 200
    assert client.get("/holdfast/projects/red").status_code == 404


def test_an_administrator_of_the_first_project_makes_none_that_runs_the_deployment(
    client: httpx.Client, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = client.post("/holdfast/keys", json={"permissions": ["admin"]}).json()
    rights = frozenset(("read", "write", "admin"))
    somebody = Principal(id="ann", kind="token", project="default", permissions=rights)

    async def ann(*_: object) -> Principal:
        return somebody

    monkeypatch.setattr(auth.Authenticator, "principal", ann)
    place = f"/holdfast/keys/{root['id']}"
    assert client.post("/holdfast/keys", json={"permissions": ["admin"]}).status_code == 403
    assert client.post(f"{place}/rotate", json={}).status_code == 403
    assert client.delete(place).status_code == 403
    fenced = {"permissions": ["admin"], "users": ["bob"]}
    assert client.post("/holdfast/keys", json=fenced).status_code == 201
    assert client.post("/holdfast/keys", json={}).status_code == 201
