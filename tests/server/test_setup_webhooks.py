"""Webhooks over HTTP, with a real receiver: set up, told, failed, seen, sent again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.core.webhooks import signature
from support.llm_server import LLMServer, Reply
from support.served import Served, served

HOOKS = "/api/v1/webhooks/projects/default/"
ADDS = ["memory_add", "memory_delete"]


@pytest.fixture
def receiver() -> Iterator[LLMServer]:
    with LLMServer() as running:
        running.answer_all(Reply(body={}))
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "store", webhook_private=True) as running:
        yield running


def hook(client: httpx.Client, url: str, **more: Any) -> dict[str, Any]:
    answer = client.post(HOOKS, json={"url": url, "name": "mirror", "event_types": ADDS, **more})
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


def deliveries(client: httpx.Client, hook_id: str, **params: Any) -> list[dict[str, Any]]:
    found = client.get(f"/holdfast/webhooks/{hook_id}/deliveries", params=params).json()
    results: list[dict[str, Any]] = found["results"]
    return results


def until(client: httpx.Client, hook_id: str, **wanted: Any) -> dict[str, Any]:
    """The newest delivery, once it is as wanted."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = deliveries(client, hook_id)
        if found and {name: found[0][name] for name in wanted} == wanted:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no delivery came to be {wanted}: {found}")


def test_a_webhook_is_told(client: httpx.Client, server: Served, receiver: LLMServer) -> None:
    made = hook(client, receiver.url)
    assert made["event_types"] == ADDS
    assert (made["is_active"], made["project"]) == (True, "default")
    server.run(server.deployment.admin.memory().add("I like tea", user_id="ann"))
    receiver.wait_for_requests(1)
    [request] = receiver.requests
    assert request.body["event_details"]["data"] == {"memory": "I like tea"}
    stamp = int(request.headers["x-holdfast-signature"].partition(",")[0].removeprefix("t="))
    expected = signature(made["secret"], stamp, request.raw)
    assert request.headers["x-holdfast-signature"] == expected
    until(client, made["webhook_id"], state="DELIVERED", answer=200, event_details=None)


def test_what_failed_is_seen_and_sent_again(
    client: httpx.Client, server: Served, receiver: LLMServer
) -> None:
    receiver.answer_all(Reply(body={}, status=500))
    made = hook(client, receiver.url)
    server.run(server.deployment.admin.memory().add("I like tea", user_id="ann"))
    waiting = until(client, made["webhook_id"], state="PENDING", attempts=1, answer=500)
    assert waiting["next_attempt_at"]
    rerun = f"/holdfast/webhooks/{made['webhook_id']}/deliveries/{waiting['id']}/rerun"
    assert client.post(rerun).status_code == 409
    assert deliveries(client, made["webhook_id"], state="FAILED") == []
    assert client.post(rerun.replace(waiting["id"], "unknown")).status_code == 404
    assert client.get("/holdfast/webhooks/unknown/deliveries").status_code == 404


def test_a_secret_is_changed(client: httpx.Client, receiver: LLMServer) -> None:
    made = hook(client, receiver.url)
    path = f"/holdfast/webhooks/{made['webhook_id']}/rotate"
    changed = client.post(path, json={"grace_s": 60}).json()
    assert changed["webhook_id"] == made["webhook_id"]
    assert changed["secret"] not in (made["secret"], "")
    assert changed["old_secret_until"]
    assert client.post(path, json={}).json()["old_secret_until"] is None
    assert client.post(path, json={"grace_s": -1}).status_code == 400
    assert client.post("/holdfast/webhooks/unknown/rotate", json={}).status_code == 404


def test_a_webhook_is_changed_and_deleted(client: httpx.Client, receiver: LLMServer) -> None:
    made = hook(client, receiver.url)
    path = f"/api/v1/webhooks/{made['webhook_id']}/"
    changed = {"name": "copy", "url": "http://127.0.0.1:1/", "event_types": ["memory_update"]}
    assert client.put(path, json={**changed, "is_active": False}).status_code == 200
    [shown] = client.get(HOOKS).json()
    assert {name: shown[name] for name in changed} == changed
    assert shown["is_active"] is False
    assert "secret" not in shown
    assert client.put(path, json={}).status_code == 400
    assert client.delete(path).json() == {"message": "Webhook deleted successfully"}
    assert client.delete(path).status_code == 404
    assert client.put(path, json=changed).status_code == 404
    assert client.get(HOOKS).json() == []


def test_what_is_no_webhook_is_refused(client: httpx.Client) -> None:
    good = {"url": "https://example.com/", "name": "mirror", "event_types": ADDS}
    wrong: dict[str, list[Any]] = {
        "url": ["nonsense", "ftp://example.com/", "https://a:b@example.com/", 7, None],
        "event_types": [[], ["memory_think"], "memory_add", None],
        "name": ["", None, "x" * 257],
    }
    for field, values in wrong.items():
        for value in values:
            answer = client.post(HOOKS, json={**good, field: value})
            assert answer.status_code == 400, (field, value)
            assert field in answer.json()["detail"]
            assert "a:b" not in answer.text
    assert client.get(HOOKS).json() == []


def test_no_message_goes_to_the_own_network(tmp_path: Path, receiver: LLMServer) -> None:
    with (
        served(tmp_path / "careful") as server,
        httpx.Client(base_url=server.url, headers=server.headers) as client,
    ):
        body = {"url": receiver.url, "name": "mirror", "event_types": ADDS}
        assert client.post(HOOKS, json=body).status_code == 400
        # a name tells nothing before it is looked up; the way there is closed then
        port = receiver.url.rpartition(":")[2].partition("/")[0]
        made = hook(client, f"http://127.0.0.1.:{port}/".replace("127.0.0.1.", "0x7f.1"))
        server.run(server.deployment.admin.memory().add("I like tea", user_id="ann"))
        dead = until(client, made["webhook_id"], state="FAILED")
        assert dead["error"] == "The address is not public."
        assert receiver.requests == []


def test_another_project_has_no_part_in_it(
    client: httpx.Client, server: Served, receiver: LLMServer
) -> None:
    made = hook(client, receiver.url)
    admin = server.deployment.admin
    project = server.run(admin.create_project("second"))
    key = server.run(admin.create_key(project=project.id, permissions=("admin", "read")))
    headers = {"Authorization": f"Token {key.secret}"}
    with httpx.Client(base_url=server.url, headers=headers) as theirs:
        assert theirs.get(HOOKS).status_code == 404
        assert theirs.post(HOOKS, json=made).status_code == 404
        mine = f"/api/v1/webhooks/{made['webhook_id']}/"
        assert theirs.put(mine, json={"name": "x"}).status_code == 404
        assert theirs.delete(mine).status_code == 404
        path = f"/holdfast/webhooks/{made['webhook_id']}/deliveries"
        assert theirs.get(path).status_code == 404
        assert theirs.get(f"/api/v1/webhooks/projects/{project.id}/").json() == []
    assert len(client.get(HOOKS).json()) == 1
