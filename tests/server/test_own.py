"""Our own routes over HTTP: one for each verb, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from holdfast import AsyncMemory
from holdfast.core import access, forms
from holdfast.server.app import build
from holdfast.server.own import verbs as own
from server.test_clients import verbs
from support.served import Served, served


def paths() -> dict[str, dict[str, object]]:
    document: dict[str, dict[str, object]] = build().openapi()["paths"]
    return document


def test_every_verb_has_a_route_and_an_operation() -> None:
    known = paths()
    assert set(own.verbs()) == verbs(AsyncMemory)
    for verb in own.verbs():
        assert set(known[f"/holdfast/{verb}"]) == {"post"}
        assert forms.operation_of(verb) in access.OPERATIONS


def test_a_verb_without_a_rule_would_be_seen() -> None:
    with pytest.raises(KeyError, match="no operation for the verb recollect"):
        forms.operation_of("recollect")


def test_the_document_names_every_argument() -> None:
    schema = paths()["/holdfast/search"]["post"]["requestBody"]["content"]["application/json"]  # type: ignore[index]
    assert schema["schema"]["required"] == ["query"]
    assert {"query", "filters", "threshold", "as_of"} <= set(schema["schema"]["properties"])
    assert schema["schema"]["additionalProperties"] is False


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"5",
        b"\xff\xfe",
        b'{"query": NaN}',
        b'{"query": "x", "filters": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"query": "x", "filter": {"user_id": "a"}}',
        b'{"filters": {"user_id": "a"}}',
        b'{"query": "\\ud800", "filters": {"user_id": "a"}}',
        b"",
    ],
)
def test_a_wrong_body_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/holdfast/search", content=body)
    assert answer.status_code in (400, 413)
    told = answer.json()
    assert told["code"] in ("VALIDATION", "TOO_LARGE")
    assert told["detail"] == told["error"]


@pytest.mark.parametrize("verb", sorted(verbs(AsyncMemory)))
def test_nobody_without_a_key_gets_as_far_as_the_body(server: Served, verb: str) -> None:
    answer = httpx.post(f"{server.url}/holdfast/{verb}", content=b"{")
    assert answer.status_code == 401


def test_a_key_reaches_as_far_as_it_may(client: httpx.Client, server: Served) -> None:
    client.post("/holdfast/add", json={"messages": "The code is swordfish.", "user_id": "alice"})
    admin = server.deployment.admin
    made = server.run(admin.create_key(users=["bob"], permissions=["read"]))
    headers = {"X-API-Key": made.secret}
    with httpx.Client(base_url=server.url, headers=headers) as bob:
        body = {"query": "What is the code?", "filters": {"user_id": "alice"}}
        assert bob.post("/holdfast/search", json=body).json() == {"results": []}
        assert bob.post("/holdfast/count", json={"filters": {"user_id": "*"}}).json() == 0
        for verb in ("reset", "stats", "settings"):
            assert bob.post(f"/holdfast/{verb}").status_code == 403
        body = {"messages": "x", "user_id": "bob"}
        assert bob.post("/holdfast/add", json=body).status_code == 403
    assert client.post("/holdfast/stats").json()["turns"] == 1


def test_a_user_has_a_limit_of_its_own(tmp_path: Path) -> None:
    with served(tmp_path / "store", user_limit_search="2/minute") as running:

        def status(user: str) -> int:
            body = {"query": "x", "filters": {"user_id": user}}
            url = f"{running.url}/holdfast/search"
            return httpx.post(url, json=body, headers=running.headers).status_code

        assert [status("alice") for _ in range(3)] == [200, 200, 429]
        assert status("bob") == 200


def test_the_header_makes_a_repeated_add_the_first_one_again(client: httpx.Client) -> None:
    said = {"messages": "Order 4711 is paid.", "user_id": "ann"}
    key = {"Idempotency-Key": "4711"}
    first = client.post("/holdfast/add", json=said, headers=key).json()
    assert client.post("/holdfast/add", json=said, headers=key).json() == first
    assert client.post("/holdfast/add", json={**said, "idempotency_key": "4711"}).json() == first
    other = client.post("/holdfast/add", json={**said, "messages": "Not paid."}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")
    both = client.post("/holdfast/add", json={**said, "idempotency_key": "4712"}, headers=key)
    assert both.status_code == 400
    assert client.post("/holdfast/count", json={"filters": {"user_id": "ann"}}).json() == 1
    named = paths()["/holdfast/add"]["post"]["parameters"]  # type: ignore[index]
    assert [one["name"] for one in named] == ["Idempotency-Key"]
