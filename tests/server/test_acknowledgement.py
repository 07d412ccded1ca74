"""What an add costs until it is acknowledged, in counts that no busy machine changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from holdfast.server.app import build
from holdfast.server.routing import Route, _form
from holdfast.server.warm import YOUNG_OBJECTS
from server.platform_client import talking
from support.llm_server import LLMServer, chat
from support.served import Served, served

ADD = "/v3/memories/add/"
STATEMENTS_MAX = 16
"""BEGIN and COMMIT, two questions, one statement for each of nine tables; and for the audit's row
one more question, where the chain of the project ends, the row, and the new end."""


def body(number: int) -> dict[str, Any]:
    said = f"Ann saw {number} herons by the river."
    return {"messages": [{"role": "user", "content": said}], "user_id": "ann"}


@pytest.fixture
def model() -> Iterator[LLMServer]:
    """A language model that does not answer while a test runs."""
    with LLMServer() as running:
        running.say(chat(json.dumps({"facts": []}), delay_s=5.0))
        yield running


@pytest.fixture
def server(model: LLMServer, tmp_path: Path) -> Iterator[Served]:
    """A server whose worker waits for that model."""
    settings = {"model": "scripted", "openai_base_url": model.url, "api_key": "sk-test"}
    more: dict[str, Any] = {
        "llm": {"provider": "openai", "config": settings},
        "workers": 1,
        "model_timeout_s": 6.0,
    }
    with served(tmp_path / "store", more) as running, talking(running) as client:
        client.post(ADD, json=body(0))
        model.wait_for_requests(1)
        yield running


def records_of(server: Served) -> Any:
    """The records themselves, inside of what adds the rows of the audit to each transaction."""
    return server.run(server.deployment.admin._parts()).records._inner


class Statements(list[str]):
    """The statements of the writer, and those of them that its thread made."""

    def __init__(self) -> None:
        super().__init__()
        self.of_thread: list[str] = []

    def note(self, statement: str) -> None:
        self.append(statement)
        if threading.current_thread().name == "holdfast-writer":
            self.of_thread.append(statement)


@contextmanager
def traced(server: Served) -> Iterator[Statements]:
    """What is written meanwhile."""
    statements = Statements()
    connection = records_of(server)._writer._connection
    connection.set_trace_callback(statements.note)
    try:
        yield statements
    finally:
        connection.set_trace_callback(None)


def test_an_add_is_one_transaction_of_few_statements(server: Served) -> None:
    with talking(server) as client:
        client.post(ADD, json=body(1))
        with traced(server) as statements:
            told = client.post(ADD, json=body(2)).json()
    assert told["status"] == "PENDING"
    assert statements.count("COMMIT") == 1
    assert len(statements) <= STATEMENTS_MAX, statements


def test_an_add_competes_for_the_interpreter_once(server: Served) -> None:
    """A thread gets it back late from a busy loop, after each statement that it runs."""
    with talking(server) as client:
        client.post(ADD, json=body(1))
        with traced(server) as statements:
            client.post(ADD, json=body(2))
    assert statements.of_thread == ["COMMIT"]


def test_an_add_reads_nothing_before_it_is_acknowledged(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with talking(server) as client:
        readers, asked = records_of(server)._readers, []
        run = readers.run

        def noted(work: Any) -> Any:
            asked.append(work.__qualname__)
            return run(work)

        monkeypatch.setattr(readers, "run", noted)
        assert client.post(ADD, json=body(1)).status_code == 200
    assert not [name for name in asked if ".fetch." in name or ".job." in name]


def test_an_add_looks_once_whether_settings_changed(server: Served) -> None:
    """For its key, its project's settings and its budgets together."""
    probe, asked = records_of(server)._probe, list[str]()
    with talking(server) as client:
        assert client.post(ADD, json=body(1)).status_code == 200
        probe.set_trace_callback(asked.append)
        for number in (2, 3):
            assert client.post(ADD, json=body(number)).status_code == 200
        probe.set_trace_callback(None)
    assert len([one for one in asked if "'directory'" in one]) == 2


def test_the_routes_that_add_spare_the_way_through_the_dependencies(tmp_path: Path) -> None:
    app = build({"path": str(tmp_path)})
    adds = [
        route
        for route in app.routes
        if isinstance(route, Route) and route.path in (ADD, "/v1/memories/", "/v3/memories/search/")
        and "POST" in route.methods
    ]  # fmt: skip
    forms = {route.path: _form(route) for route in adds}
    assert len(forms) == 3
    assert all(forms.values())
    assert forms[ADD].headers == {"idempotency_key": "Idempotency-Key"}  # type: ignore[union-attr]


def test_the_document_is_made_once_and_not_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by: list[str] = []
    make = FastAPI.openapi

    def noted(app: FastAPI) -> dict[str, Any]:
        made_by.append(threading.current_thread().name)
        return make(app)

    monkeypatch.setattr(FastAPI, "openapi", noted)
    with served(tmp_path / "store") as server, talking(server) as client:
        first, second = client.get("/openapi.json"), client.get("/openapi.json")
    assert first.json()["info"]["title"] == "Holdfast"
    assert first.content == second.content
    assert len(made_by) == 1
    assert made_by[0] != "holdfast-test-server"


SERVES = """
import gc, os, signal, sys
from holdfast.config import load_config
from holdfast.server import run
server = {"port": 0, "admin_key": "the-admin-key-of-the-test"}
config = load_config({"path": sys.argv[1], "server": server})
def started(_secret):
    print(gc.get_freeze_count(), gc.get_threshold()[0], flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
sys.exit(run.serve(config.config, run.listen(config.config.server), started))
"""


def test_a_server_leaves_what_is_there_and_what_is_in_flight_to_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "HOLDFAST_HOME": str(tmp_path)},
    )
    frozen, young = map(int, done.stdout.split())
    assert frozen > 100_000
    assert young == YOUNG_OBJECTS
