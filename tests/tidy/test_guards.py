"""The guards of `conftest.py` themselves: each is seen to catch what it is for."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support import leaks
from support.offline import sitecustomize as offline

ADDRESS = ("192.0.2.1", 80)  # reserved for documentation, RFC 5737


def test_connections_to_other_machines_are_blocked() -> None:
    with socket.socket() as connection, pytest.raises(offline.NetworkBlockedError):
        connection.connect(ADDRESS)
    with pytest.raises(offline.NetworkBlockedError):
        socket.getaddrinfo("example.invalid", 80)
    assert len(offline.attempts) == 2
    offline.attempts.clear()


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
    assert offline.attempts == []


def test_started_processes_are_blocked_too() -> None:
    code = f"import socket; socket.create_connection({ADDRESS!r}, timeout=1)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode != 0
    assert "NetworkBlockedError" in result.stderr


def test_each_test_has_a_home_of_its_own(home: Path) -> None:
    assert os.environ["HOLDFAST_HOME"] == str(home)
    assert list(home.iterdir()) == []


def test_chance_repeats() -> None:
    first = random.random()
    random.seed(20261123)
    assert random.random() == first


def test_a_left_thread_is_seen() -> None:
    stop = threading.Event()
    before = leaks.holdfast_threads()
    thread = threading.Thread(target=stop.wait, name="holdfast-planted")
    thread.start()
    assert leaks.settled(leaks.holdfast_threads, before, patience_s=0.05) == {thread}
    stop.set()
    assert leaks.settled(leaks.holdfast_threads, before) == set()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to see open files")
def test_an_open_database_is_seen(tmp_path: Path) -> None:
    before = leaks.open_databases()
    connection = sqlite3.connect(tmp_path / "planted.db")
    connection.execute("CREATE TABLE t (x)")
    assert leaks.open_databases() - before == {str(tmp_path / "planted.db")}
    connection.close()
    assert leaks.open_databases() == before


def test_a_pending_task_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "PACKAGE", str(Path(__file__).parent))

    async def planted() -> None:
        await asyncio.sleep(60)

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(planted())
        await asyncio.sleep(0)
        return task

    watch = asyncio.runners._cancel_all_tasks
    assert isinstance(watch, leaks.TaskWatch)
    asyncio.run(main())
    assert len(watch.left) == 1
    watch.left.clear()
