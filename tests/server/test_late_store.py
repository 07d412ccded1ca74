"""A server, and a worker, that are started before their record store."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from holdfast.admin import AsyncAdmin
from holdfast.config import load_config
from holdfast.errors import ConfigError, StoreError, StoreUnavailableError
from holdfast.server import opening
from holdfast.server.app import build
from holdfast.server.opening import open_patiently
from support.postgres import ROLE, Server
from support.process import PATIENCE_S, Running, running
from support.redis import free_port
from support.served import PLAIN
from support.thorough import THOROUGH

USUAL = (1,)
"""Processes of the server; with HOLDFAST_TEST_THOROUGH two as well."""


@pytest.fixture
def postgres() -> Iterator[Server]:
    """A server that is down, and has a database."""
    server = Server()
    server.ask(f"CREATE DATABASE late OWNER {ROLE}")
    server.stop()
    try:
        yield server
    finally:
        server.remove()


def settings(postgres: Server, user: str = ROLE, **section: Any) -> dict[str, Any]:
    """Of a server on a port of its own."""
    records = {"url": postgres.url("late", user), "connect_timeout_s": 2}
    return {
        "records": {"provider": "postgres", "config": records},
        "server": {"port": free_port(), **section},
    }


def statuses(url: str) -> dict[str, int]:
    paths = ("/health/live", "/health/ready", "/health", "/v1/ping/", "/memories?user_id=a")
    return {path: httpx.get(url + path, verify=PLAIN, timeout=20).status_code for path in paths}


def until(status: int, url: str, path: str) -> None:
    """Wait until a path answers so."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if httpx.get(url + path, verify=PLAIN, timeout=20).status_code == status:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        assert time.monotonic() < deadline, f"{path} never answered {status}"
        time.sleep(0.05)


@pytest.mark.parametrize("processes", [1, 2] if THOROUGH else USUAL)
def test_it_serves_as_soon_as_its_store_is_there(
    postgres: Server, tmp_path: Path, processes: int
) -> None:
    given = settings(postgres, processes=processes)
    url = f"http://127.0.0.1:{given['server']['port']}"
    with (
        running("serve", home=tmp_path / "serve", settings=given) as server,
        running("worker", home=tmp_path / "worker", settings=given) as worker,
    ):
        until(503, url, "/health/ready")
        away = {"/health/live": 200, "/health/ready": 503, "/health": 503}
        assert statuses(url) == {**away, "/v1/ping/": 503, "/memories?user_id=a": 503}
        told = httpx.get(f"{url}/health", verify=PLAIN).json()
        assert told["parts"] == {
            "records": {**dict.fromkeys(told["parts"]["records"]), "status": "down",
                        "error": "STORE_UNAVAILABLE"},
        }  # fmt: skip
        refused = httpx.get(f"{url}/v1/ping/", verify=PLAIN)
        assert refused.json()["code"] == "STORE_UNAVAILABLE"
        assert int(refused.headers["retry-after"]) == opening.PAUSE_MAX_S
        assert refused.headers["x-request-id"]
        worker.hear("the record store is away .* asked again for 600 s")
        assert "serves" not in server.said
        postgres.start()
        key = server.hear(r"key +(hf\S+)").group(1)
        worker.hear("works at the jobs of postgres;")
        until(200, url, "/health/ready")
        headers = {"authorization": f"Token {key}"}
        said = {"messages": "I like tea", "user_id": "ann"}
        added = httpx.post(f"{url}/holdfast/add", json=said, headers=headers, verify=PLAIN)
        assert added.status_code == 200, added.text
        assert ended(server, worker) == [0, 0]


def ended(*processes: Running) -> list[int]:
    for process in processes:
        process.send(signal.SIGTERM)
    return [process.wait() for process in processes]


@pytest.mark.parametrize("processes", [1, 2] if THOROUGH else USUAL)
def test_what_no_waiting_mends_ends_it_when_the_store_comes(
    postgres: Server, tmp_path: Path, processes: int
) -> None:
    postgres.start()
    postgres.ask("CREATE ROLE locked LOGIN PASSWORD 'right'")
    postgres.demand_password("locked")
    postgres.stop()
    given = settings(postgres, "locked:wrong", processes=processes)
    with running("serve", home=tmp_path, settings=given) as server:
        server.hear("the record store is away")
        postgres.start()
        assert server.wait() == 2
        assert re.search(r"^error: Postgres refuses the user or the password", server.said, re.M)
        assert "wrong" not in server.said


@pytest.mark.parametrize(("wait_s", "processes"), [(0, 1), (0.2, 1), (0.2, 2)])
@pytest.mark.skipif(not THOROUGH, reason="processes take time; see the quick ones below")
def test_the_wait_is_bounded(tmp_path: Path, wait_s: float, processes: int) -> None:
    records = {
        "provider": "postgres",
        "config": {"url": f"postgresql://h@127.0.0.1:{free_port()}/h"},
    }
    given = {"records": records, "server": {"port": 0, "store_wait_s": wait_s,
                                            "processes": processes}}  # fmt: skip
    with running("serve", home=tmp_path, settings=given) as server:
        assert server.wait() == 4
        assert server.said.count("error: Postgres is away") == 1


# ---------------------------------------------------------------------------- in this process


class Late:
    """A store that is away for so many tries, and then raises this, if anything."""

    def __init__(self, tries: int, then: Exception | None = None) -> None:
        self.tries, self.then = tries, then
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.tries:
            raise StoreUnavailableError("away")
        if self.then is not None:
            raise self.then


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncAdmin:
    monkeypatch.setattr(opening, "PAUSE_S", 0.001)
    return AsyncAdmin({"path": str(tmp_path)})


async def test_it_is_asked_until_it_is_there(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late(3)
    monkeypatch.setattr(admin, "open", late)
    await open_patiently(admin, 60.0)
    assert late.calls == 4


async def test_when_the_time_is_over_it_says_what_is_away(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late(10**9)
    monkeypatch.setattr(admin, "open", late)
    with pytest.raises(StoreUnavailableError):
        await open_patiently(admin, 0.05)
    assert late.calls > 1
    before = late.calls
    with pytest.raises(StoreUnavailableError):
        await open_patiently(admin, 0.0)
    assert late.calls == before + 1


async def test_another_error_is_not_waited_out(
    admin: AsyncAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (ConfigError("wrong"), StoreError("another schema")):
        late = Late(2, error)
        monkeypatch.setattr(admin, "open", late)
        with pytest.raises(type(error)):
            await open_patiently(admin, 60.0)
        assert late.calls == 3


def test_an_application_without_our_server_waits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under another ASGI server."""
    there = asyncio.Event()
    real = AsyncAdmin.open

    async def open_(self: AsyncAdmin) -> None:
        if not there.is_set():
            raise StoreUnavailableError("away")
        await real(self)

    monkeypatch.setattr(AsyncAdmin, "open", open_)
    monkeypatch.setattr(opening, "PAUSE_S", 0.001)
    config = load_config({"path": str(tmp_path), "server": {"auth_disabled": True}}).config
    with TestClient(build(config)) as client:
        assert client.get("/health/ready").status_code == 503
        assert client.get("/v1/ping/").status_code == 503
        there.set()
        deadline = time.monotonic() + PATIENCE_S
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
        assert client.get("/v1/ping/").status_code == 200
    with TestClient(build(config)):
        pass  # and one that is told to stop while it waits ends


def test_told_to_stop_while_it_waits_it_ends(tmp_path: Path) -> None:
    records = {"url": f"postgresql://h@127.0.0.1:{free_port()}/h"}
    given = {"records": {"provider": "postgres", "config": records}, "server": {"port": 0}}
    with running("serve", home=tmp_path, settings=given) as server:
        server.hear("the record store is away")
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.wait() == 0
