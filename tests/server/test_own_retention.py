"""Retention over HTTP: rules listed, set and removed, counted and carried out, by whom."""

from __future__ import annotations

import httpx
import pytest

from support.served import Served
from tests.server.test_mcp import made_key

PLACE = "/holdfast/retention"


def test_rules_are_set_counted_carried_out_and_removed(client: httpx.Client) -> None:
    assert client.get(PLACE).json() == {"rules": {}}
    assert client.put(PLACE, json={"rules": {"turns": 0, "jobs": 30}}).json() == {
        "rules": {"turns": 0.0, "jobs": 30.0}
    }
    body = {"messages": "I keep bees", "user_id": "ann", "infer": False}
    assert client.post("/holdfast/add", json=body).status_code == 200
    due = client.post(f"{PLACE}/run", json={"dry_run": True}).json()
    assert due == {"rows": {"turns": 1, "jobs": 0}, "removed": False}
    gone = client.post(f"{PLACE}/run", json={}).json()
    assert gone == {"rows": {"turns": 1, "jobs": 0}, "removed": True}
    assert client.post("/holdfast/count", json={"filters": {"user_id": "ann"}}).json() == 0
    assert client.delete(f"{PLACE}/turns").json() == {"rules": {"jobs": 30.0}}
    assert client.put(PLACE, json={"rules": {"jobs": None}}).json() == {"rules": {}}


@pytest.mark.parametrize(
    "rules", [{"colours": 1}, {"turns": -1}, {"turns": "x"}, [], {"turns": 1e9}]
)
def test_wrong_rules_change_nothing(client: httpx.Client, rules: object) -> None:
    client.put(PLACE, json={"rules": {"jobs": 3}})
    assert client.put(PLACE, json={"rules": rules}).status_code in (400, 422)
    assert client.delete(f"{PLACE}/colours").status_code in (400, 422)
    assert client.get(PLACE).json() == {"rules": {"jobs": 3.0}}


def test_only_admins_of_a_whole_project_change_them(server: Served, client: httpx.Client) -> None:
    client.put(PLACE, json={"rules": {"turns": 0}})
    reader = made_key(server, permissions=["read"])
    fenced = made_key(server, permissions=["admin"], users=["ann"])
    for key, listed in ((reader, 200), (fenced, 403)):
        mine = {"Authorization": f"Token {key}"}
        assert client.get(PLACE, headers=mine).status_code == listed
        assert client.put(PLACE, json={"rules": {}}, headers=mine).status_code == 403
        assert client.delete(f"{PLACE}/turns", headers=mine).status_code == 403
        for dry_run in (True, False):
            body = {"dry_run": dry_run}
            assert client.post(f"{PLACE}/run", json=body, headers=mine).status_code == 403
