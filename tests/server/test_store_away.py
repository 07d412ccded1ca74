"""While the record store is away every route says 503 and when to come again, and no other 5xx."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from holdfast import AsyncMemory, Client, deadline
from holdfast.errors import StoreUnavailableError
from holdfast.testing.faults import Fault
from support.faulty import FaultyRecords
from support.served import PLAIN, Served, served

MEMORY = "{memory}"
"""Stands for the id of a memory that is there."""

Request = tuple[str, str, Any]
ANN = {"user_id": "ann"}
SAID = [{"role": "user", "content": "I like cocoa"}]

REQUESTS: tuple[Request, ...] = (
    ("POST", "/v3/memories/add/", {"messages": SAID, **ANN}),
    ("POST", "/v1/memories/", {"messages": SAID, **ANN, "infer": False}),
    ("GET", "/v1/ping/", None),
    ("GET", "/v1/stats/", None),
    ("POST", "/v3/memories/search/", {"query": "tea", "filters": ANN}),
    ("POST", "/v2/memories/search/", {"query": "tea", "filters": ANN}),
    ("POST", "/v1/memories/search/", {"query": "tea", **ANN}),
    ("POST", "/v3/memories/", {"filters": ANN}),
    ("GET", "/v1/memories/?user_id=ann", None),
    ("GET", "/v1/entities/", None),
    ("GET", "/v1/memories/user/ann/", None),
    ("GET", "/v1/events/", None),
    ("POST", "/v1/feedback/", {"memory_id": MEMORY, "feedback": "POSITIVE"}),
    ("GET", f"/v1/memories/{MEMORY}/", None),
    ("PUT", f"/v1/memories/{MEMORY}/", {"text": "I like tea very much"}),
    ("GET", f"/v1/memories/{MEMORY}/history/", None),
    ("PUT", "/v1/batch/", {"memories": [{"memory_id": MEMORY, "text": "I like green tea"}]}),
    ("GET", "/holdfast/projects/default", None),
    ("GET", "/api/v1/webhooks/projects/default/", None),
    ("POST", "/memories", {"messages": SAID, **ANN}),
    ("GET", "/memories?user_id=ann", None),
    ("GET", f"/memories/{MEMORY}", None),
    ("PUT", f"/memories/{MEMORY}", {"text": "I like tea at noon"}),
    ("GET", f"/memories/{MEMORY}/history", None),
    ("POST", "/search", {"query": "tea", **ANN}),
    ("GET", "/entities", None),
    ("GET", "/auth/setup-status", None),
    ("POST", "/auth/login", {"email": "ann@example.com", "password": "not the one it is"}),
    ("GET", "/api-keys", None),
    ("POST", "/holdfast/add", {"messages": "I like cake", **ANN, "idempotency_key": "k"}),
    ("POST", "/holdfast/search", {"query": "tea", "filters": ANN}),
    ("POST", "/holdfast/get", {"memory_id": MEMORY}),
    ("POST", "/holdfast/get_all", {"filters": ANN}),
    ("POST", "/holdfast/events", {}),
    ("POST", "/holdfast/stats", {}),
    ("POST", "/holdfast/settings", {}),
    ("GET", "/holdfast/whoami", None),
    ("GET", "/holdfast/keys", None),
    ("POST", "/holdfast/keys", {"permissions": ["read"]}),
    ("GET", "/holdfast/projects", None),
    ("GET", "/metrics", None),
    ("DELETE", f"/v1/memories/{MEMORY}/", None),
    ("DELETE", "/v1/memories/?user_id=ann", None),
    ("DELETE", "/v2/entities/user/ann/", None),
)


class Away(FaultyRecords):
    """The store of a server, away from a call on."""

    def __init__(self, server: Served) -> None:
        assert server.deployment.admin._memory._assembly is not None
        super().__init__(server.deployment.admin._memory._assembly.parts)

    def away_from(self, number: int) -> Fault:
        return self.from_call(number, _error)


def _error() -> StoreUnavailableError:
    return StoreUnavailableError("The database at /secret/place is away.", retry_after_s=2.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("away") / "store"
    with served(folder, {"read_connections_max": 1}) as running:
        memory = running.deployment.admin.memory()
        running.run(memory.search("tea", filters=ANN))
        # writes enough for a first checkpoint: the thread that makes them is here before any test
        filler = [{"role": "user", "content": f"filler {number}"} for number in range(600)]
        running.run(memory.add(filler, user_id="filler", infer=False))
        yield running


@pytest.fixture(scope="module")
def away(server: Served) -> Away:
    return Away(server)


@pytest.fixture(scope="module")
def key(server: Served) -> str:
    made = server.run(server.deployment.admin.create_key(permissions=("admin",)))
    return str(made.secret)


def ask(server: Served, key: str, request: Request) -> httpx.Response:
    method, path, body = request
    return httpx.request(
        method,
        server.url + path,
        json=body,
        headers={"authorization": f"Token {key}"},
        verify=PLAIN,
        timeout=30,
    )


def filled(request: Request, memory_id: str) -> Request:
    """The request about a memory that is there."""
    method, path, body = request
    text = memory_id

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: put(item) for name, item in value.items()}
        if isinstance(value, list):
            return [put(item) for item in value]
        return value.replace(MEMORY, text) if isinstance(value, str) else value

    return method, put(path), put(body)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: f"{one[0]} {one[1]}")
def test_a_store_that_goes_away_at_any_call_is_503(
    server: Served, away: Away, key: str, request_: Request
) -> None:
    away.away_from(0)
    memory = server.deployment.admin.memory()
    number = calls = 0
    refused = 0
    while number <= calls:
        number += 1
        away.away_from(0)
        added = server.run(memory.add(f"I like tea, number {number}.", user_id="ann"))
        request = filled(request_, added["results"][0]["id"])
        fault = away.away_from(number)
        answer = ask(server, key, request)
        calls = fault.steps
        if answer.status_code >= 500:
            refused += 1
            assert answer.status_code == 503, f"call {number}: {answer.text}"
            assert answer.headers["retry-after"] == "3"
            assert answer.json()["code"] in ("STORE_UNAVAILABLE", "datastore_unavailable")
            assert "secret" not in answer.text
        else:
            assert answer.status_code < 400 or "/login" in request[1], answer.text
    away.away_from(0)
    assert refused or request_[1] in ("/metrics", "/v1/ping/", "/holdfast/whoami")


def test_ready_goes_red_live_stays_green_and_both_come_back(
    server: Served, away: Away, key: str
) -> None:
    def states() -> list[int]:
        paths = ("/health/live", "/health/ready", "/health")
        return [ask(server, "none", ("GET", path, None)).status_code for path in paths]

    away.away_from(0)
    assert states() == [200, 200, 200]
    away.away_from(1)
    assert states() == [200, 503, 503]
    told = ask(server, "none", ("GET", "/health", None)).json()
    assert told["parts"]["records"]["error"] == "STORE_UNAVAILABLE"
    away.away_from(0)
    assert states() == [200, 200, 200]


def test_a_wrong_key_is_not_called_wrong_while_nobody_can_know(server: Served, away: Away) -> None:
    away.away_from(1)
    answer = ask(server, "hf_unknown_key", ("GET", "/v1/ping/", None))
    away.away_from(0)
    assert answer.status_code in (401, 503)


def test_other_5xx_would_be_seen(
    server: Served, away: Away, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard itself: an error that is not translated is caught."""
    monkeypatch.setattr("holdfast.server.problems.STATUS", {StoreUnavailableError: 500})
    with pytest.raises(AssertionError, match="call 1"):
        test_a_store_that_goes_away_at_any_call_is_503(server, away, key, REQUESTS[4])
    away.away_from(0)


# ----------------------------------------------------------------------------- the caller's time


@pytest.mark.parametrize("told", ["0", "-1", "soon", "nan", ""])
def test_a_time_that_is_none_is_refused(server: Served, told: str) -> None:
    headers = {**server.headers, "x-request-timeout": told}
    answer = httpx.get(f"{server.url}/v1/ping/", headers=headers, verify=PLAIN)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION")


def test_the_time_a_caller_has_reaches_the_verbs_and_ends_the_request(tmp_path: Path) -> None:
    left: list[float] = []

    async def search(self: AsyncMemory, query: str, **_: Any) -> Any:
        left.append(deadline.left_s())
        if query == "slow":
            await asyncio.sleep(60)
        return {"results": []}

    with (
        patch.object(AsyncMemory, "search", search),
        served(tmp_path / "store", request_timeout_s=50.0) as running,
    ):
        body = {"query": "tea", "filters": ANN}
        for headers in ({}, {"x-request-timeout": "7.5"}, {"X-Request-Timeout": "600"}):
            httpx.post(
                f"{running.url}/v3/memories/search/",
                json=body,
                headers={**running.headers, **headers},
                verify=PLAIN,
            )
        with Client(running.url, running.key, timeout_s=20) as client:
            client.search("tea", filters=ANN)
        slow = httpx.post(
            f"{running.url}/v3/memories/search/",
            json={**body, "query": "slow"},
            headers={**running.headers, "x-request-timeout": "0.1"},
            verify=PLAIN,
        )
        assert (slow.status_code, slow.json()["code"]) == (503, "OVERLOADED")
    assert left == [pytest.approx(most, abs=1) for most in (50, 7.5, 50, 20, 0.1)]
