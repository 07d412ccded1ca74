"""The server and the command line on records in Postgres, as real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import postgres
from support.process import ADMIN_KEY, PATIENCE_S, running, talker
from support.served import served


def records(url: str) -> dict[str, Any]:
    return {"provider": "postgres", "config": {"url": url}}


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as given:
        yield given


def remember(client: httpx.Client, text: str) -> int:
    said = {"messages": text, "user_id": "ann", "infer": False}
    return client.post("/v1/memories/", json=said).status_code


def find(client: httpx.Client, query: str) -> list[str]:
    asked = {"query": query, "filters": {"user_id": "ann"}}
    answer = client.post("/v2/memories/search/", json=asked)
    assert answer.status_code == 200, answer.text
    return [item["memory"] for item in answer.json()]


def came_back(client: httpx.Client) -> None:
    """Wait until the database is asked again: after a few failures that pauses for a moment."""
    deadline = time.monotonic() + PATIENCE_S
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline, "never ready again"
        time.sleep(0.05)


def test_two_servers_one_of_several_processes_on_one_database(url: str, tmp_path: Path) -> None:
    given = [
        {
            "records": records(url),
            "server": {"admin_key": ADMIN_KEY, "port": 0, "processes": processes},
        }
        for processes in (2, 1)
    ]
    with (
        running("serve", home=tmp_path / "one", settings=given[0]) as one,
        running("serve", home=tmp_path / "two", settings=given[1]) as two,
        talker(one.url) as here,
        talker(two.url) as there,
    ):
        assert "postgres" in one.said
        assert url not in one.said
        for number in range(6):
            assert remember(here, f"Bee number {number} is in hive {number}.") == 200
            assert len(find(there, "bee hive")) == number + 1
        for each in (one, two):
            each.send(signal.SIGTERM)
        assert (one.wait(), two.wait()) == (0, 0)
    assert not (tmp_path / "one" / "holdfast.db").exists()


def test_the_command_line(url: str, tmp_path: Path) -> None:
    environ = {"HOLDFAST_RECORDS_PROVIDER": "postgres", "HOLDFAST_RECORDS_URL": url}

    def holdfast(*words: str) -> Any:
        command = [sys.executable, "-m", "holdfast", *words, "--json"]
        home = {"HOLDFAST_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **environ}
        done = subprocess.run(
            command, env=home, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    holdfast("add", "I keep bees.", "--user", "ann", "--no-infer")
    assert holdfast("stats")["memories"] == 1
    checks = {check["name"]: check for check in holdfast("doctor")["checks"]}
    assert checks["store"]["state"] == "ok"
    assert checks["store"]["finding"].startswith("1 memories")
    assert "folder" not in checks
    assert holdfast("stats")["memories"] == 1, "the doctor's trials are in a store of their own"


def test_a_server_whose_database_goes_away_and_comes_back(tmp_path: Path) -> None:
    server = postgres.Server(durable=True)
    try:
        more = {"records": records(server.url(server.database()))}
        with (
            served(tmp_path, more) as up,
            httpx.Client(base_url=up.url, headers=up.headers, timeout=PATIENCE_S) as client,
        ):
            assert remember(client, "I keep bees.") == 200
            server.stop(signal.SIGQUIT)
            refused = client.post(
                "/v1/memories/", json={"messages": "x", "user_id": "ann", "infer": False}
            )
            assert refused.status_code == 503
            assert "Retry-After" in refused.headers
            health = client.get("/health")
            assert health.status_code == 503
            assert health.json()["parts"]["records"]["error"] == "STORE_UNAVAILABLE"
            server.start()
            came_back(client)
            assert find(client, "bees") == ["I keep bees."]
            assert remember(client, "I keep goats.") == 200
            assert client.get("/health").status_code == 200
    finally:
        server.remove()
