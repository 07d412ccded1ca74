"""Health: its shapes, what makes a part ill, and that it tells no secrets and costs no money."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from holdfast import limits
from holdfast.admin import AsyncAdmin
from holdfast.backends.models import endpoints
from holdfast.errors import StoreUnavailableError
from holdfast.metrics import Sight
from holdfast.server import health
from holdfast.server.health import seen
from support.llm_server import LLMServer, failure
from support.served import PLAIN, Served, served

PARTS = {"records", "index", "queue", "embedder", "llm", "reranker", "cache", "redis", "backup"}
SECRET = "sk-very-secret"


def ask(server: Served, path: str = "/health") -> httpx.Response:
    """Without any credential."""
    return httpx.get(f"{server.url}{path}", verify=PLAIN, timeout=60)


def test_monitors_may_ask_for_the_head_alone(server: Served) -> None:
    for path in ("/health/live", "/health/ready", "/health"):
        answer = httpx.head(f"{server.url}{path}", verify=PLAIN)
        assert (answer.status_code, answer.content) == (200, b""), path


def test_a_server_that_does_well(server: Served) -> None:
    assert ask(server, "/health/live").json() == {"status": "ok"}
    assert ask(server, "/health/ready").json() == {"status": "ready"}
    answer = ask(server)
    assert answer.status_code == 200
    told = answer.json()
    assert told.keys() == {"status", "version", "draining", "parts"}
    assert (told["status"], told["draining"]) == ("ok", False)
    assert told["parts"].keys() == PARTS
    for part in told["parts"].values():
        assert part.keys() == {
            "status", "latency_ms", "last_success", "error",
            "reachable", "connect_ms", "last_reached",
        }  # fmt: skip
    states = {name: part["status"] for name, part in told["parts"].items()}
    well = dict.fromkeys(("records", "index", "queue", "embedder", "cache"), "ok")
    assert states == well | dict.fromkeys(("llm", "reranker", "redis", "backup"), "off")
    assert told["parts"]["records"]["latency_ms"] >= 0


def test_the_shapes_are_in_the_openapi_document(server: Served) -> None:
    document = ask(server, "/openapi.json").json()
    for path, name in (("/health", "Health"), ("/health/ready", "Ready")):
        answers = document["paths"][path]["get"]["responses"]
        for status in ("200", "503"):
            schema = answers[status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": f"#/components/schemas/{name}"}


def test_while_it_drains_it_is_alive_and_not_ready(server: Served) -> None:
    server.deployment.draining = True
    assert ask(server, "/health/live").status_code == 200
    answer = ask(server, "/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})
    assert ask(server).json()["draining"] is True


def test_without_its_store_it_is_down(server: Served) -> None:
    async def away(self: AsyncAdmin) -> None:
        raise StoreUnavailableError("/secret/path/holdfast.db is locked")

    with patch.object(AsyncAdmin, "probe", away):
        answer = ask(server, "/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"status": "store_unavailable"})
        answer = ask(server)
        assert answer.status_code == 503
        assert answer.json()["status"] == "down"
        assert answer.json()["parts"]["records"]["error"] == "STORE_UNAVAILABLE"
        assert "secret" not in answer.text
        assert ask(server, "/health/live").status_code == 200
    assert ask(server).status_code == 200


def test_a_store_that_does_not_answer_in_time_is_down(server: Served) -> None:
    async def hangs(self: AsyncAdmin) -> None:
        import asyncio

        await asyncio.sleep(3600)

    with (
        patch.object(AsyncAdmin, "probe", hangs),
        patch.object(health, "DEPENDENCY_TIMEOUT_S", 0.1),
    ):
        assert ask(server, "/health/ready").status_code == 503
        assert ask(server).json()["parts"]["records"]["error"] == "TIMEOUT"


def test_a_model_that_cannot_be_reached_is_told_of_before_anybody_needs_it(
    tmp_path: Path, llm: LLMServer
) -> None:
    config = {"model": "scripted", "openai_base_url": llm.url, "api_key": SECRET}
    part = {"provider": "openai", "config": config}
    with served(tmp_path / "store", {"llm": part}) as server:
        told = ask(server).json()["parts"]["llm"]
        assert (told["status"], told["reachable"], told["last_success"]) == ("ok", True, None)
        assert told["connect_ms"] > 0
        assert told["last_reached"]
        llm.stop()
        with patch.object(endpoints, "ENDPOINT_AGE_MAX_S", 0.0):
            answer = ask(server)
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        told = answer.json()["parts"]["llm"]
        assert (told["status"], told["error"]) == ("down", "UNREACHABLE")
        assert (told["reachable"], told["connect_ms"]) == (False, None)
        assert told["last_reached"]
        assert "127.0.0.1" not in answer.text
    assert llm.requests == [], "a connection is no request"
    with served(tmp_path / "other", {"llm": part}, health_connects=False) as server:
        told = ask(server).json()["parts"]["llm"]
        assert (told["status"], told["reachable"]) == ("unknown", None)


def test_models_are_told_of_as_their_last_calls_went_and_never_asked(
    tmp_path: Path, llm: LLMServer
) -> None:
    config = {"model": "scripted", "openai_base_url": llm.url, "api_key": SECRET}
    part = {"provider": "openai", "config": config}
    llm.say(json.dumps({"facts": []}), failure(500, f"{SECRET} and a text"), '{"facts": []}')
    more: dict[str, Any] = {"llm": part, "model_attempts_max": 1, "job_attempts_max": 1}
    with served(tmp_path / "store", more) as server:
        memory = server.deployment.admin.memory()
        told = ask(server).json()
        assert (told["parts"]["llm"]["status"], told["parts"]["llm"]["last_success"]) == (
            "ok",
            None,
        )
        assert told["status"] == "ok", "nothing is known to be wrong"
        server.run(memory.add("I like tea.", user_id="ann"))
        told = ask(server).json()["parts"]["llm"]
        assert (told["status"], told["error"]) == ("ok", None)
        assert told["latency_ms"] > 0
        assert told["last_success"]
        time.sleep(0.01)
        server.run(memory.add("I like milk.", user_id="ann"))
        answer = ask(server)
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        told = answer.json()["parts"]["llm"]
        assert (told["status"], told["error"]) == ("down", "MODEL_UNAVAILABLE")
        assert told["last_success"]
        for word in (SECRET, "127.0.0.1", "scripted", "text", "openai"):
            assert word not in answer.text
        assert ask(server, "/health/ready").status_code == 200, "it still serves"
        time.sleep(0.01)
        server.run(memory.add("I like water.", user_id="ann"))
        assert ask(server).json()["parts"]["llm"]["status"] == "ok"
        assert len(llm.requests) == 3, "no probe reached the model"


def test_a_queue_that_nobody_works_at_is_degraded(tmp_path: Path, llm: LLMServer) -> None:
    config = {"model": "scripted", "openai_base_url": llm.url, "api_key": "k"}
    more = {"llm": {"provider": "openai", "config": config}, "workers": 0}
    with (
        patch.object(health, "QUEUE_AGE_MAX_S", 0.0),
        served(tmp_path / "store", more) as server,
    ):
        server.run(server.deployment.admin.memory().add("Tea.", user_id="ann", wait=False))
        time.sleep(0.01)
        told = ask(server).json()
        assert (told["status"], told["parts"]["queue"]["status"]) == ("degraded", "degraded")
        assert ask(server).status_code == 200


@pytest.mark.parametrize(
    ("sight", "status"),
    [
        (Sight(), "unknown"),
        (Sight(succeeded_at=2, took_s=0.5), "ok"),
        (Sight(succeeded_at=2, failed_at=1, error_code="MODEL"), "ok"),
        (Sight(succeeded_at=1, failed_at=2, error_code="MODEL"), "down"),
        (Sight(failed_at=2, error_code="MODEL"), "down"),
    ],
)
def test_what_was_seen_last_counts(sight: Sight, status: str) -> None:
    assert seen(sight, there=True).status == status
    assert seen(sight, there=False).status == "off"
    assert (seen(sight, there=True).error is None) == (status != "down")


def test_many_probes_cost_one_census(server: Served) -> None:
    asked = 0
    census = AsyncAdmin.census

    async def counted(self: AsyncAdmin) -> Any:
        nonlocal asked
        asked += 1
        return await census(self)

    with patch.object(AsyncAdmin, "census", counted):
        for _ in range(10):
            assert ask(server).status_code == 200
    assert asked == 1
    assert limits.CENSUS_AGE_MAX_S >= 10


def test_backups_that_are_too_old_are_told(tmp_path: Path) -> None:
    place = {"provider": "folder", "config": {"path": str(tmp_path / "backups")}}
    with served(tmp_path / "store", {"backup": place}) as server:
        told = ask(server).json()
        assert (told["status"], told["parts"]["backup"]["status"]) == ("degraded", "degraded")
        server.run(server.deployment.admin.backups.create())
        server.deployment.backed_up._last = None  # a minute later
        told = ask(server).json()
        assert (told["status"], told["parts"]["backup"]["status"]) == ("ok", "ok")
